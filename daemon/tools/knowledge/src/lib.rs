//! tools/knowledge
