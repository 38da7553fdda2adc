//! What is delivered: each kind of package, made of the staged programs.

mod deb;
