//! The programming languages that are parsed, and what defines something in them. Queries are those that the grammars come
//! with for tags, where they come with one.

use tree_sitter::Language;

/// One language.
pub(crate) struct Grammar {
    /// In lower case.
    pub(crate) name: &'static str,
    /// Of files, without the dot.
    pub(crate) extensions: &'static [&'static str],
    language: fn() -> Language,
    /// tree-sitter's tags: `@definition.KIND` around `@name`. A `@scope` is no definition, but names what is inside.
    queries: &'static [&'static str],
}

impl Grammar {
    /// The grammar.
    pub(crate) fn language(&self) -> Language {
        (self.language)()
    }

    /// What finds definitions.
    pub(crate) fn query(&self) -> String {
        self.queries.join("\n")
    }
}

const RUST: &str = r"
(impl_item type: [(type_identifier) @name (generic_type type: (type_identifier) @name)]) @scope
(const_item name: (identifier) @name) @definition.constant
(static_item name: (identifier) @name) @definition.constant
";

const BASH: &str = r"(function_definition name: (word) @name) @definition.function";

const KOTLIN: &str = r"
(class_declaration name: (identifier) @name) @definition.class
(object_declaration name: (identifier) @name) @definition.class
(function_declaration name: (identifier) @name) @definition.function
(type_alias type: (identifier) @name) @definition.type
";

const SCALA: &str = r"
(class_definition name: (identifier) @name) @definition.class
(object_definition name: (identifier) @name) @definition.class
(trait_definition name: (identifier) @name) @definition.interface
(enum_definition name: (identifier) @name) @definition.class
(function_definition name: (identifier) @name) @definition.function
(type_definition name: (type_identifier) @name) @definition.type
";

const TYPESCRIPT: &str = r"
(enum_declaration name: (identifier) @name) @definition.class
(type_alias_declaration name: (type_identifier) @name) @definition.type
";

const C: &str = r"(preproc_def name: (identifier) @name) @definition.macro
(preproc_function_def name: (identifier) @name) @definition.macro
(function_definition declarator: (function_declarator declarator: (identifier) @name)) @definition.function
(function_definition declarator: (pointer_declarator declarator: (function_declarator declarator: (identifier) @name))) @definition.function";

const CPP: &str = r"
(namespace_definition name: (namespace_identifier) @name) @scope
(function_definition declarator: (function_declarator declarator: (field_identifier) @name)) @definition.method
(function_definition declarator: (function_declarator declarator: (qualified_identifier name: (identifier) @name))) @definition.method";

/// All of them; where two have an extension, the first.
pub(crate) const GRAMMARS: &[Grammar] = &[
    Grammar {
        name: "rust",
        extensions: &["rs"],
        language: || tree_sitter_rust::LANGUAGE.into(),
        queries: &[tree_sitter_rust::TAGS_QUERY, RUST],
    },
    Grammar {
        name: "python",
        extensions: &["py", "pyi", "pyw"],
        language: || tree_sitter_python::LANGUAGE.into(),
        queries: &[tree_sitter_python::TAGS_QUERY],
    },
    Grammar {
        name: "javascript",
        extensions: &["js", "mjs", "cjs", "jsx"],
        language: || tree_sitter_javascript::LANGUAGE.into(),
        queries: &[tree_sitter_javascript::TAGS_QUERY],
    },
    Grammar {
        name: "typescript",
        extensions: &["ts", "mts", "cts"],
        language: || tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
        queries: &[tree_sitter_javascript::TAGS_QUERY, tree_sitter_typescript::TAGS_QUERY, TYPESCRIPT],
    },
    Grammar {
        name: "tsx",
        extensions: &["tsx"],
        language: || tree_sitter_typescript::LANGUAGE_TSX.into(),
        queries: &[tree_sitter_javascript::TAGS_QUERY, tree_sitter_typescript::TAGS_QUERY, TYPESCRIPT],
    },
    Grammar {
        name: "go",
        extensions: &["go"],
        language: || tree_sitter_go::LANGUAGE.into(),
        queries: &[tree_sitter_go::TAGS_QUERY],
    },
    Grammar {
        name: "java",
        extensions: &["java"],
        language: || tree_sitter_java::LANGUAGE.into(),
        queries: &[tree_sitter_java::TAGS_QUERY],
    },
    Grammar {
        name: "c",
        extensions: &["c", "h"],
        language: || tree_sitter_c::LANGUAGE.into(),
        queries: &[tree_sitter_c::TAGS_QUERY, C],
    },
    Grammar {
        name: "cpp",
        extensions: &["cpp", "cc", "cxx", "hpp", "hh", "hxx", "cu"],
        language: || tree_sitter_cpp::LANGUAGE.into(),
        queries: &[tree_sitter_cpp::TAGS_QUERY, C, CPP],
    },
    Grammar {
        name: "csharp",
        extensions: &["cs"],
        language: || tree_sitter_c_sharp::LANGUAGE.into(),
        queries: &[tree_sitter_c_sharp::TAGS_QUERY],
    },
    Grammar {
        name: "ruby",
        extensions: &["rb", "rake", "gemspec"],
        language: || tree_sitter_ruby::LANGUAGE.into(),
        queries: &[tree_sitter_ruby::TAGS_QUERY],
    },
    Grammar {
        name: "php",
        extensions: &["php"],
        language: || tree_sitter_php::LANGUAGE_PHP.into(),
        queries: &[tree_sitter_php::TAGS_QUERY],
    },
    Grammar {
        name: "bash",
        extensions: &["sh", "bash", "zsh"],
        language: || tree_sitter_bash::LANGUAGE.into(),
        queries: &[BASH],
    },
    Grammar {
        name: "lua",
        extensions: &["lua"],
        language: || tree_sitter_lua::LANGUAGE.into(),
        queries: &[tree_sitter_lua::TAGS_QUERY],
    },
    Grammar {
        name: "elixir",
        extensions: &["ex", "exs"],
        language: || tree_sitter_elixir::LANGUAGE.into(),
        queries: &[tree_sitter_elixir::TAGS_QUERY],
    },
    Grammar {
        name: "kotlin",
        extensions: &["kt", "kts"],
        language: || tree_sitter_kotlin_ng::LANGUAGE.into(),
        queries: &[KOTLIN],
    },
    Grammar {
        name: "scala",
        extensions: &["scala", "sc"],
        language: || tree_sitter_scala::LANGUAGE.into(),
        queries: &[SCALA],
    },
];

/// By the extension of a file, or by the interpreter that its first line names.
pub(crate) fn find(extension: &str, first_line: &str) -> Option<&'static Grammar> {
    let extension = extension.to_ascii_lowercase();
    if !extension.is_empty() {
        return GRAMMARS.iter().find(|grammar| grammar.extensions.contains(&extension.as_str()));
    }
    let interpreter = first_line.strip_prefix("#!")?.split_whitespace();
    let interpreter = interpreter.filter_map(|word| word.rsplit('/').next()).find(|word| *word != "env")?;
    let name = match interpreter.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "sh" | "bash" | "dash" | "zsh" => "bash",
        "node" | "deno" | "bun" => "javascript",
        other => other,
    };
    GRAMMARS.iter().find(|grammar| grammar.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree_sitter::Query;

    #[test]
    fn the_queries_are_of_their_grammars() {
        for grammar in GRAMMARS {
            let query = Query::new(&grammar.language(), &grammar.query());
            let query = query.unwrap_or_else(|err| panic!("{}: {err}", grammar.name));
            assert!(
                query.capture_names().iter().any(|name| name.starts_with("definition.")),
                "{}",
                grammar.name
            );
        }
    }

    #[test]
    fn scripts_are_known_by_their_interpreter() {
        let name = |extension, line| find(extension, line).map(|grammar| grammar.name);
        assert_eq!(name("", "#!/usr/bin/env python3.12"), Some("python"));
        assert_eq!(name("", "#!/bin/sh -e"), Some("bash"));
        assert_eq!(name("RS", ""), Some("rust"));
        assert_eq!(name("txt", "#!/bin/sh"), None);
    }
}
