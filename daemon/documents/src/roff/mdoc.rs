//! Lines of mdoc(7), whose macros may stand among words.

/// Macros of mdoc that say nothing.
pub(super) fn is_silent(name: &str) -> bool {
    matches!(
        name,
        "Os" | "Dd" | "UE" | "ME" | "YS" | "Ef" | "Bf" | "PD" | "AT" | "UC" | "DT" | "Bk" | "Ek" | "Sm"
    )
}

/// Macros of mdoc that may stand among words.
pub(super) fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "Fl" | "Ar"
            | "Op"
            | "Oo"
            | "Oc"
            | "Pa"
            | "Cm"
            | "Ic"
            | "Li"
            | "Ql"
            | "Qq"
            | "Dq"
            | "Sq"
            | "Em"
            | "Sy"
            | "Xr"
            | "Nm"
            | "Ev"
            | "Va"
            | "Vt"
            | "Fa"
            | "Fn"
            | "Ft"
            | "Dv"
            | "Er"
            | "Ns"
            | "No"
            | "Pq"
            | "Aq"
            | "Bq"
            | "Brq"
            | "Tn"
            | "Ux"
            | "Bx"
            | "Lk"
            | "Mt"
            | "An"
            | "Ad"
            | "Ms"
            | "Cd"
            | "In"
            | "Ap"
            | "D1"
            | "Dl"
            | "Po"
            | "Pc"
            | "St"
    )
}

/// A line of words and macros of mdoc.
pub(super) fn inline(tokens: &[String], subject: &str) -> String {
    let mut said = String::new();
    let mut tokens = tokens.iter().map(String::as_str).peekable();
    // What is to be closed at the end of the line.
    let mut closing = Vec::new();
    let mut is_joined = true;
    let mut prefix = "";
    while let Some(token) = tokens.next() {
        let mut put = |text: &str, is_joined: &mut bool| {
            let is_mark = text.len() == 1 && text.starts_with(['.', ',', ';', ':', ')', '?', '!']);
            if !said.is_empty() && !*is_joined && !is_mark {
                said.push(' ');
            }
            said.push_str(text);
            *is_joined = text == "(";
        };
        match token {
            "Fl" => {
                prefix = "-";
                // One alone stands for the dash.
                if tokens.peek().is_none_or(|next| is_inline(next)) {
                    put("-", &mut is_joined);
                    prefix = "";
                }
            }
            "Ns" => is_joined = true,
            "Ap" => {
                is_joined = true;
                put("'", &mut is_joined);
                is_joined = true;
            }
            "Op" | "Bq" | "Oo" => {
                put("[", &mut is_joined);
                is_joined = true;
                if token != "Oo" {
                    closing.push("]");
                }
            }
            "Oc" | "Pc" => {
                is_joined = true;
                put(if token == "Oc" { "]" } else { ")" }, &mut is_joined);
            }
            "Pq" | "Po" => {
                put("(", &mut is_joined);
                if token == "Pq" {
                    closing.push(")");
                }
            }
            "Dq" | "Qq" => {
                put("\"", &mut is_joined);
                is_joined = true;
                closing.push("\"");
            }
            "Sq" | "Ql" => {
                put("'", &mut is_joined);
                is_joined = true;
                closing.push("'");
            }
            "Aq" => {
                put("<", &mut is_joined);
                is_joined = true;
                closing.push(">");
            }
            "Xr" => {
                let name = tokens.next().unwrap_or_default();
                let section = tokens.next().unwrap_or_default();
                put(&format!("{name}({section})"), &mut is_joined);
            }
            "Nm" if tokens.peek().is_none_or(|next| is_inline(next) || next.len() == 1) => {
                put(subject, &mut is_joined);
            }
            "Ar" if tokens.peek().is_none() => put("file ...", &mut is_joined),
            name if is_inline(name) => prefix = "",
            word => {
                let is_mark = word.len() == 1 && !word.chars().all(char::is_alphanumeric);
                put(&format!("{}{word}", if is_mark { "" } else { prefix }), &mut is_joined);
            }
        }
    }
    said.extend(closing.into_iter().rev());
    said
}
