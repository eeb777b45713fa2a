//! Small changes to SQL: no parser, but tokens and the clause that each of them stands in, which is enough for statements of
//! the kind that we write.
//!
//! Left out is what only costs time (indexes, storage) and `NOT NULL`, whose columns are written by one statement each.

use crate::mutant::{Kind, Mutant, name_all};

/// Every change of the statements in `text`, which stands in `file`.
pub fn mutants(file: &str, text: &str) -> Vec<Mutant> {
    let tokens = tokens(text);
    let mut finder = Finder { text, file, tokens, found: Vec::new() };
    finder.signs();
    finder.conditions();
    finder.clauses();
    finder.assignments();
    finder.lists();
    let mut found = finder.found;
    name_all(text, &mut found);
    found
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    text: &'a str,
    start: usize,
    /// Brackets around it.
    depth: usize,
    /// Number of the statement of the file that it belongs to.
    statement: usize,
}

impl Token<'_> {
    fn end(&self) -> usize {
        self.start + self.text.len()
    }

    fn is(&self, word: &str) -> bool {
        self.text == word
    }

    /// A name, constant or parameter.
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '\''))
    }
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut depth, mut statement) = (Vec::new(), 0, 0_usize, 0);
    while at < bytes.len() {
        let rest = &text[at..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let length = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'-' if rest.starts_with("--") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            b'$' => 1 + rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            _ => {
                ["<=", ">=", "<>", "::", "[]"].iter().find(|sign| rest.starts_with(**sign)).map_or(1, |sign| sign.len())
            }
        };
        let token = &rest[..length];
        depth -= usize::from(token == ")");
        found.push(Token { text: token, start: at, depth, statement });
        depth += usize::from(token == "(");
        statement += usize::from(token == ";");
        at += length;
    }
    found
}

/// What ends a condition, at its own depth.
const ENDS: [&str; 16] = [
    "GROUP",
    "ORDER",
    "RETURNING",
    "LIMIT",
    "FOR",
    "UNION",
    "ON",
    "WHERE",
    "THEN",
    "LEFT",
    "JOIN",
    "FROM",
    ";",
    ",",
    "CONSTRAINT",
    "ELSE",
];

struct Finder<'a> {
    text: &'a str,
    file: &'a str,
    tokens: Vec<Token<'a>>,
    found: Vec<Mutant>,
}

impl Finder<'_> {
    fn note(&mut self, what: &str, start: usize, end: usize, after: impl Into<String>) {
        let after = after.into();
        if self.text[start..end] != after {
            self.found.push(Mutant::new(Kind::Sql, self.file, self.text, what, (start, end), after));
        }
    }

    /// The first place from `from` on that is no longer part of the clause that `from` stands in.
    fn end_of_clause(&self, from: usize, ends: &[&str]) -> usize {
        let Some(first) = self.tokens.get(from) else { return from };
        let is_over = |token: &Token<'_>| {
            token.statement != first.statement
                || token.depth < first.depth
                || (token.depth == first.depth && ends.contains(&token.text))
        };
        (from..self.tokens.len()).find(|at| is_over(&self.tokens[*at])).unwrap_or(self.tokens.len())
    }

    fn signs(&mut self) {
        let mut is_set = Vec::new();
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            if self.is_of_index(at) {
                continue;
            }
            match token.text {
                "SET" => is_set.push((token.statement, token.depth)),
                "WHERE" | "FROM" | "RETURNING" => is_set.retain(|place| *place != (token.statement, token.depth)),
                _ => {}
            }
            let next = self.tokens.get(at + 1).map_or("", |next| next.text);
            let (what, turned): (_, &[&str]) = match token.text {
                "=" if next == "ANY" => continue,
                "=" if is_set.contains(&(token.statement, token.depth)) => continue,
                "=" if self.tokens[at - 1].is("fillfactor") => continue,
                "=" => ("comparison turned", &["<>"]),
                "<>" => ("comparison turned", &["="]),
                "<" => ("comparison turned", &["<=", ">"]),
                ">" => ("comparison turned", &[">=", "<"]),
                "<=" => ("comparison turned", &["<", ">"]),
                ">=" => ("comparison turned", &[">", "<"]),
                "greatest" => ("comparison turned", &["least"]),
                "least" => ("comparison turned", &["greatest"]),
                "NOT" if next == "EXISTS" => ("comparison turned", &[""]),
                "IS" if next == "NULL" => ("comparison turned", &["IS NOT"]),
                "DESC" => ("comparison turned", &["ASC"]),
                "+" => ("sum turned", &["-"]),
                "-" if next != "1" => ("sum turned", &["+"]),
                _ => continue,
            };
            for after in turned {
                self.note(what, token.start, token.end(), *after);
            }
        }
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            if token.is("IS") && !self.is_of_index(at) && self.tokens.get(at + 1).is_some_and(|next| next.is("NOT")) {
                let end = self.tokens[at + 1].end();
                self.note("comparison turned", token.start, end, "IS");
            }
            let is_option = at > 1 && self.tokens[at - 2].is("fillfactor");
            if let Ok(number) = token.text.parse::<u64>()
                && !is_option
            {
                self.note("constant moved", token.start, token.end(), (number + 1).to_string());
                if let Some(less) = number.checked_sub(1) {
                    self.note("constant moved", token.start, token.end(), less.to_string());
                }
            }
        }
    }

    fn is_of_index(&self, at: usize) -> bool {
        let of = |token: &&Token<'_>| token.statement == self.tokens[at].statement;
        self.tokens[..at].iter().filter(of).any(|token| token.is("INDEX"))
    }

    /// Each operand of a WHERE, CHECK, ON or WHEN becomes what leaves the others to decide.
    fn conditions(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let next = self.tokens.get(at + 1).map_or("", |next| next.text);
            let is_index = self.is_of_index(at);
            let from = match token.text {
                "WHERE" | "WHEN" if !is_index => at + 1,
                "ON" if next != "CONFLICT" && !is_index => at + 1,
                "CHECK" => at + 2,
                _ => continue,
            };
            self.operands(from);
        }
    }

    fn operands(&mut self, from: usize) {
        let end = self.end_of_clause(from, &ENDS);
        let Some(depth) = self.tokens.get(from).map(|token| token.depth) else { return };
        let (mut first, mut is_between, mut parts, mut word) = (from, false, Vec::new(), "AND");
        for at in from..end {
            let token = self.tokens[at];
            if token.depth == depth {
                is_between |= token.is("BETWEEN");
                if token.is("OR") || (token.is("AND") && !is_between) {
                    word = if token.is("OR") { "OR" } else { word };
                    parts.push((first, at));
                    first = at + 1;
                } else if token.is("AND") {
                    is_between = false;
                }
            }
        }
        parts.push((first, end));
        let neutral = if word == "OR" { "FALSE" } else { "TRUE" };
        for (first, behind) in parts {
            if behind <= first {
                continue;
            }
            let (start, stop) = (self.tokens[first].start, self.tokens[behind - 1].end());
            self.note("condition dropped", start, stop, neutral);
            // What stands in brackets has parts of its own, where it is no row and no list.
            let is_group = self.tokens[first].is("(") && self.tokens[behind - 1].is(")");
            let is_whole = self.tokens[first + 1..behind - 1].iter().all(|token| token.depth > depth);
            let joins = |token: &Token<'_>| token.depth == depth + 1 && (token.is("AND") || token.is("OR"));
            if is_group && is_whole && self.tokens[first + 1..behind].iter().any(joins) {
                self.operands(first + 1);
            }
        }
    }

    fn clauses(&mut self) {
        for at in 0..self.tokens.len() {
            let token = self.tokens[at];
            let next = self.tokens.get(at + 1).map_or("", |next| next.text);
            let what = "statement dropped";
            match (token.text, next) {
                ("ON", "CONFLICT") | ("FOR", "UPDATE") | ("LIMIT", _) => {
                    let end = self.end_of_clause(at + 1, &["RETURNING", ";", "ORDER", "UNION"]);
                    self.note(what, token.start, self.tokens[end - 1].end(), "");
                }
                ("ORDER", "BY") => {
                    let end = self.end_of_clause(at + 1, &["LIMIT", "FOR", "ON", ";", "RETURNING"]);
                    self.note(what, token.start, self.tokens[end - 1].end(), "");
                }
                ("DISTINCT", "ON") => {
                    let end = (at + 2..self.tokens.len()).find(|at| self.tokens[*at].is(")")).unwrap_or(at + 2);
                    self.note(what, token.start, self.tokens[end].end(), "");
                }
                ("UNION", _) => {
                    let end = self.end_of_clause(at + 1, &["ORDER", ";", "UNION"]);
                    self.note(what, token.start, self.tokens[end - 1].end(), "");
                }
                // A column's own, with nothing before it that would have to go as well.
                ("PRIMARY", "KEY") if self.tokens[at + 2].is(",") => {
                    self.note(what, token.start, self.tokens[at + 1].end(), "");
                }
                _ => {}
            }
        }
    }

    /// `SET a = b, c = d`: each of them, where there is another.
    fn assignments(&mut self) {
        for at in 0..self.tokens.len() {
            if !self.tokens[at].is("SET") {
                continue;
            }
            let end = self.end_of_clause(at + 1, &["WHERE", "FROM", "RETURNING", ";"]);
            let depth = self.tokens[at].depth;
            let commas: Vec<usize> =
                (at + 1..end).filter(|at| self.tokens[*at].is(",") && self.tokens[*at].depth == depth).collect();
            if let Some(first) = commas.first() {
                let (start, stop) = (self.tokens[at + 1].start, self.tokens[*first].end());
                self.note("statement dropped", start, stop, "");
            }
            for (nth, comma) in commas.iter().enumerate() {
                let last = commas.get(nth + 1).copied().unwrap_or(end);
                let (start, stop) = (self.tokens[*comma].start, self.tokens[last - 1].end());
                self.note("statement dropped", start, stop, "");
            }
        }
    }

    /// `a, b`, both of one word: swapped.
    fn lists(&mut self) {
        for at in 1..self.tokens.len().saturating_sub(1) {
            let (first, comma, second) = (self.tokens[at - 1], self.tokens[at], self.tokens[at + 1]);
            let ahead = at.checked_sub(2).map_or("", |at| self.tokens[at].text);
            let behind = self.tokens.get(at + 2).map_or("", |token| token.text);
            let begins = matches!(ahead, "(" | "," | "SELECT" | "RETURNING" | "BY");
            let ends = matches!(behind, ")" | "," | "FROM" | "LIMIT" | "");
            let of_order =
                self.tokens[..at].iter().rev().find(|token| token.is("BY") || token.is("(") || token.is("SELECT"));
            if comma.is(",")
                && first.is_word()
                && second.is_word()
                && begins
                && (ends || behind == "ON")
                && !of_order.is_some_and(|token| token.is("BY"))
            {
                let swapped = format!("{}{}{}", second.text, &self.text[first.end()..second.start], first.text);
                self.note("keys swapped", first.start, second.end(), swapped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_changes(text: &str, wanted: &[(&str, &str)]) {
        let found: Vec<(String, String)> =
            mutants("s.sql", text).iter().map(|mutant| (mutant.what.clone(), mutant.applied(text))).collect();
        for (what, after) in wanted {
            let pair = ((*what).to_owned(), (*after).to_owned());
            assert!(found.contains(&pair), "{pair:?} is not among {found:#?}");
        }
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
    }

    #[test]
    fn each_part_of_a_condition_is_dropped_and_turned() {
        assert_changes(
            "UPDATE t SET a = $1 WHERE b = $2 AND c <= 2",
            &[
                ("comparison turned", "UPDATE t SET a = $1 WHERE b <> $2 AND c <= 2"),
                ("comparison turned", "UPDATE t SET a = $1 WHERE b = $2 AND c < 2"),
                ("comparison turned", "UPDATE t SET a = $1 WHERE b = $2 AND c > 2"),
                ("constant moved", "UPDATE t SET a = $1 WHERE b = $2 AND c <= 3"),
                ("constant moved", "UPDATE t SET a = $1 WHERE b = $2 AND c <= 1"),
                ("condition dropped", "UPDATE t SET a = $1 WHERE TRUE AND c <= 2"),
                ("condition dropped", "UPDATE t SET a = $1 WHERE b = $2 AND TRUE"),
            ],
        );
    }

    #[test]
    fn assignments_and_clauses_are_dropped() {
        assert_changes(
            "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = 'x', c = now() RETURNING b",
            &[
                ("statement dropped", "INSERT INTO t (a) VALUES ($1)  RETURNING b"),
                (
                    "statement dropped",
                    "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET  c = now() RETURNING b",
                ),
                (
                    "statement dropped",
                    "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = 'x' RETURNING b",
                ),
            ],
        );
        assert_changes(
            "SELECT a FROM t ORDER BY a DESC FOR UPDATE OF t",
            &[
                ("comparison turned", "SELECT a FROM t ORDER BY a ASC FOR UPDATE OF t"),
                ("statement dropped", "SELECT a FROM t  FOR UPDATE OF t"),
                ("statement dropped", "SELECT a FROM t ORDER BY a DESC "),
            ],
        );
    }

    #[test]
    fn constraints_are_dropped_and_indexes_left_alone() {
        assert_changes(
            "CREATE TABLE t (a bigint CHECK (a > b), c text);\nCREATE INDEX i ON t (a) WHERE a IS NOT NULL;\n",
            &[
                (
                    "comparison turned",
                    "CREATE TABLE t (a bigint CHECK (a >= b), c text);\nCREATE INDEX i ON t (a) WHERE a IS NOT NULL;\n",
                ),
                (
                    "comparison turned",
                    "CREATE TABLE t (a bigint CHECK (a < b), c text);\nCREATE INDEX i ON t (a) WHERE a IS NOT NULL;\n",
                ),
                (
                    "condition dropped",
                    "CREATE TABLE t (a bigint CHECK (TRUE), c text);\nCREATE INDEX i ON t (a) WHERE a IS NOT NULL;\n",
                ),
            ],
        );
    }

    #[test]
    fn neighbours_of_a_list_are_swapped() {
        assert_changes(
            "SELECT a, b FROM f($1, $2)",
            &[("keys swapped", "SELECT b, a FROM f($1, $2)"), ("keys swapped", "SELECT a, b FROM f($2, $1)")],
        );
    }
}
