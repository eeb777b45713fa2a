//! Small changes to Lua: a parser of the language as Redis has it (5.1), which notes each as it meets what it changes.

use crate::mutant::{Kind, Mutant, name_all};

/// Every change of the script `text`, which stands in `file`.
///
/// # Panics
/// Where it is no Lua: the scripts that ship are.
pub fn mutants(file: &str, text: &str) -> Vec<Mutant> {
    let mut parser = Parser { text, file, tokens: tokens(text), at: 0, found: Vec::new(), depth: 0 };
    parser.block();
    assert!(parser.at == parser.tokens.len(), "{file}: not understood from {:?} on", parser.peek());
    let mut found = parser.found;
    name_all(text, &mut found);
    found
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Word,
    Number,
    Text,
    Sign,
}

#[derive(Clone, Copy, Debug)]
struct Token<'a> {
    sort: Sort,
    text: &'a str,
    start: usize,
}

const SIGNS: [&str; 7] = ["...", "..", "==", "~=", "<=", ">=", "#!"];
const KEYWORDS: [&str; 7] = ["end", "else", "elseif", "until", "return", "break", "then"];

fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let (sort, length) = match bytes[at] {
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            // A comment, or the line that says what a script may do.
            b'-' if rest.starts_with("--") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'#' if at == 0 && rest.starts_with("#!") => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            quote @ (b'\'' | b'"') => {
                let mut end = 1;
                while bytes[at + end] != quote {
                    end += if bytes[at + end] == b'\\' { 2 } else { 1 };
                }
                (Sort::Text, end + 1)
            }
            byte if byte.is_ascii_digit() => {
                (Sort::Number, rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()))
            }
            byte if byte.is_ascii_alphabetic() || byte == b'_' => {
                (Sort::Word, rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len()))
            }
            _ => (Sort::Sign, SIGNS.iter().find(|sign| rest.starts_with(**sign)).map_or(1, |sign| sign.len())),
        };
        found.push(Token { sort, text: &rest[..length], start: at });
        at += length;
    }
    found
}

type Span = (usize, usize);

struct Parser<'a> {
    text: &'a str,
    file: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    found: Vec<Mutant>,
    /// Blocks that stand around.
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", |token| if token.sort == Sort::Text { "'" } else { token.text })
    }

    fn start(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| token.start)
    }

    /// Behind the token that was taken last.
    fn end(&self) -> usize {
        let last = self.tokens[self.at - 1];
        last.start + last.text.len()
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_there = self.peek() == wanted;
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, wanted: &str) {
        let line = self.text[..self.start()].matches('\n').count() + 1;
        assert!(self.take(wanted), "{}:{line}: {wanted} expected, not {:?}", self.file, self.peek());
    }

    fn note(&mut self, what: &str, span: Span, after: impl Into<String>) {
        let after = after.into();
        if self.text[span.0..span.1] != after {
            self.found.push(Mutant::new(Kind::Lua, self.file, self.text, what, span, after));
        }
    }

    fn block(&mut self) {
        self.depth += 1;
        while self.at < self.tokens.len() && !matches!(self.peek(), "end" | "else" | "elseif" | "until") {
            self.statement();
        }
        self.depth -= 1;
    }

    fn statement(&mut self) {
        let start = self.start();
        match self.peek() {
            ";" => self.at += 1,
            "if" => {
                while matches!(self.peek(), "if" | "elseif") {
                    self.at += 1;
                    self.condition(true);
                    self.expect("then");
                    self.block();
                }
                if self.take("else") {
                    self.block();
                }
                self.expect("end");
            }
            "while" => {
                self.at += 1;
                self.condition(false);
                self.body("do");
            }
            "do" => self.body("do"),
            "repeat" => {
                self.at += 1;
                self.block();
                self.expect("until");
                self.condition(false);
            }
            "for" => {
                while !matches!(self.peek(), "=" | "in") {
                    self.at += 1;
                }
                self.at += 1;
                self.list(false);
                self.body("do");
            }
            "function" => {
                self.at += 2;
                self.function();
            }
            "local" => {
                self.at += 1;
                if self.take("function") {
                    self.at += 1;
                    self.function();
                    return;
                }
                self.at += 1;
                while self.take(",") {
                    self.at += 1;
                }
                if self.take("=") {
                    self.list(true);
                }
            }
            "return" => {
                self.at += 1;
                if self.at < self.tokens.len() && !KEYWORDS.contains(&self.peek()) {
                    self.list(true);
                }
                // At the end of a script or function there is nothing behind it that would run instead.
                if self.depth > 1 {
                    self.note("statement dropped", (start, self.end()), "");
                }
            }
            "break" => {
                self.at += 1;
                self.note("statement dropped", (start, self.end()), "");
            }
            _ => {
                self.suffixed();
                while self.take(",") {
                    self.suffixed();
                }
                if self.take("=") {
                    self.list(true);
                }
                self.note("statement dropped", (start, self.end()), "");
            }
        }
    }

    fn body(&mut self, opening: &str) {
        self.expect(opening);
        self.block();
        self.expect("end");
    }

    /// Behind a function's name, or the word itself.
    fn function(&mut self) {
        while !self.take(")") {
            self.at += 1;
        }
        self.block();
        self.expect("end");
    }

    /// Where the script would never end by it, it is not made true.
    fn condition(&mut self, may_hold: bool) {
        let span = self.expression(0);
        if may_hold {
            self.note("condition dropped", span, "true");
        }
        self.note("condition dropped", span, "false");
    }

    /// Expressions, commas between; neighbours are swapped where their order is what tells them apart.
    fn list(&mut self, swaps: bool) {
        let mut spans = vec![self.expression(0)];
        while self.take(",") {
            spans.push(self.expression(0));
        }
        if swaps {
            self.swap(&spans);
        }
    }

    fn swap(&mut self, spans: &[Span]) {
        for pair in spans.windows(2) {
            let [first, second] = [pair[0], pair[1]];
            let swapped = format!(
                "{}{}{}",
                &self.text[second.0..second.1],
                &self.text[first.1..second.0],
                &self.text[first.0..first.1]
            );
            self.note("keys swapped", (first.0, second.1), swapped);
        }
    }

    fn expression(&mut self, above: u8) -> Span {
        let start = self.start();
        if matches!(self.peek(), "not" | "-" | "#") {
            let sign = self.peek().to_owned();
            self.at += 1;
            let operand = self.expression(7);
            if sign != "#" {
                let what = if sign == "not" { "condition dropped" } else { "sum turned" };
                let after = self.text[operand.0..operand.1].to_owned();
                self.note(what, (start, operand.1), after);
            }
        } else {
            self.suffixed();
        }
        loop {
            let sign = self.peek().to_owned();
            let (binds, right) = match sign.as_str() {
                "or" => (1, 1),
                "and" => (2, 2),
                "<" | ">" | "<=" | ">=" | "~=" | "==" => (3, 3),
                ".." => (5, 4),
                "+" | "-" => (6, 6),
                "*" | "/" | "%" => (7, 7),
                "^" => (9, 8),
                _ => break,
            };
            if binds <= above {
                break;
            }
            let left = (start, self.end());
            let at = (self.start(), self.start() + sign.len());
            self.at += 1;
            let right = self.expression(right);
            let turned: &[&str] = match sign.as_str() {
                "==" => &["~="],
                "~=" => &["=="],
                "<" => &["<=", ">="],
                "<=" => &["<", ">"],
                ">" => &[">=", "<="],
                ">=" => &[">", "<"],
                _ => &[],
            };
            for after in turned {
                self.note("comparison turned", at, *after);
            }
            match sign.as_str() {
                "+" => self.note("sum turned", at, "-"),
                "-" => self.note("sum turned", at, "+"),
                "and" | "or" => {
                    for operand in [left, right] {
                        let after = self.text[operand.0..operand.1].to_owned();
                        self.note("condition dropped", (start, right.1), after);
                    }
                }
                _ => {}
            }
        }
        (start, self.end())
    }

    /// A constant, a name, what is in brackets, and all that is called or picked of it.
    fn suffixed(&mut self) {
        let token = self.tokens[self.at];
        let span = (token.start, token.start + token.text.len());
        self.at += 1;
        match (token.sort, token.text) {
            (Sort::Number, digits) => self.moved(span, digits, ""),
            (Sort::Text, text) => {
                let inside = &text[1..text.len() - 1];
                if !inside.is_empty() && inside.len() < 9 && inside.bytes().all(|byte| byte.is_ascii_digit()) {
                    self.moved(span, inside, &text[..1]);
                }
            }
            (Sort::Word, "true") => self.note("constant moved", span, "false"),
            (Sort::Word, "false") => self.note("constant moved", span, "true"),
            (Sort::Word, "function") => self.function(),
            (Sort::Sign, "(") => {
                self.expression(0);
                self.expect(")");
            }
            (Sort::Sign, "{") => self.table(),
            _ => {}
        }
        let mut callee = token.text.to_owned();
        loop {
            match self.peek() {
                "." | ":" => {
                    self.at += 1;
                    let name = self.tokens[self.at];
                    callee = format!("{callee}.{}", name.text);
                    let turned = match callee.as_str() {
                        "math.min" => Some("max"),
                        "math.max" => Some("min"),
                        "math.floor" => Some("ceil"),
                        "math.ceil" => Some("floor"),
                        _ => None,
                    };
                    if let Some(after) = turned {
                        self.note("comparison turned", (name.start, name.start + name.text.len()), after);
                    }
                    self.at += 1;
                }
                "[" => {
                    self.at += 1;
                    self.expression(0);
                    self.expect("]");
                }
                "(" => {
                    self.at += 1;
                    let mut spans = Vec::new();
                    while !self.take(")") {
                        spans.push(self.expression(0));
                        self.take(",");
                    }
                    // What is no command is refused by Redis at once, and tells nothing; which is the least of two does not
                    // depend on their order; and a number for a pattern is written as it is.
                    let command = usize::from(matches!(callee.as_str(), "redis.call" | "redis.pcall"));
                    if !callee.starts_with("math.") && callee != "string.format" {
                        self.swap(&spans[command.min(spans.len())..]);
                    }
                }
                _ => return,
            }
        }
    }

    fn moved(&mut self, span: Span, digits: &str, quote: &str) {
        let Ok(number) = digits.parse::<u64>() else { return };
        self.note("constant moved", span, format!("{quote}{}{quote}", number + 1));
        if let Some(less) = number.checked_sub(1) {
            self.note("constant moved", span, format!("{quote}{less}{quote}"));
        }
    }

    fn table(&mut self) {
        let mut spans = Vec::new();
        while !self.take("}") {
            if self.tokens.get(self.at + 1).is_some_and(|token| token.text == "=") {
                self.at += 2;
                self.expression(0);
            } else {
                spans.push(self.expression(0));
            }
            self.take(",");
        }
        self.swap(&spans);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(text: &str) -> Vec<(String, String)> {
        let found = mutants("s.lua", text);
        found.iter().map(|mutant| (mutant.what.clone(), mutant.applied(text))).collect()
    }

    fn assert_changes(text: &str, wanted: &[(&str, &str)]) {
        let found = changes(text);
        for (what, after) in wanted {
            let pair = ((*what).to_owned(), (*after).to_owned());
            assert!(found.contains(&pair), "{pair:?} is not among {found:#?}");
        }
        assert_eq!(found.len(), wanted.len(), "{found:#?}");
    }

    #[test]
    fn comparisons_are_turned_and_moved_by_their_border() {
        assert_changes(
            "local a = b <= c",
            &[("comparison turned", "local a = b < c"), ("comparison turned", "local a = b > c")],
        );
        assert_changes("local a = math.min(b, c)", &[("comparison turned", "local a = math.max(b, c)")]);
    }

    #[test]
    fn constants_are_moved_and_sums_turned() {
        assert_changes("local a = b + 0", &[("sum turned", "local a = b - 0"), ("constant moved", "local a = b + 1")]);
        assert_changes("local a = '1'", &[("constant moved", "local a = '2'"), ("constant moved", "local a = '0'")]);
        assert_changes("local a = 'x1' -- 1\n", &[]);
    }

    #[test]
    fn conditions_and_their_parts_are_dropped() {
        assert_changes(
            "if a and not b then f() end",
            &[
                ("condition dropped", "if true then f() end"),
                ("condition dropped", "if false then f() end"),
                ("condition dropped", "if a then f() end"),
                ("condition dropped", "if not b then f() end"),
                ("condition dropped", "if a and b then f() end"),
                ("statement dropped", "if a and not b then  end"),
            ],
        );
    }

    #[test]
    fn statements_are_dropped_but_for_the_last_word() {
        assert_changes(
            "f()\nif x then return a end\nreturn b",
            &[
                ("statement dropped", "\nif x then return a end\nreturn b"),
                ("condition dropped", "f()\nif true then return a end\nreturn b"),
                ("condition dropped", "f()\nif false then return a end\nreturn b"),
                ("statement dropped", "f()\nif x then  end\nreturn b"),
            ],
        );
    }

    #[test]
    fn keys_are_swapped_but_no_command_with_its_key() {
        assert_changes(
            "local n = redis.call('HSET', a, 'f', v)",
            &[
                ("keys swapped", "local n = redis.call('HSET', 'f', a, v)"),
                ("keys swapped", "local n = redis.call('HSET', a, v, 'f')"),
            ],
        );
    }

    #[test]
    fn every_script_that_ships_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut count = 0;
        for directory in ["edge/lua", "worker/lua"] {
            for entry in std::fs::read_dir(root.join(directory)).expect("the tree's") {
                let path = entry.expect("readable").path();
                let text = std::fs::read_to_string(&path).expect("text");
                count += mutants(&path.display().to_string(), &text).len();
            }
        }
        assert!(count > 1000, "{count}");
    }
}
