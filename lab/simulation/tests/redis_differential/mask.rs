//! Names for what must differ between two servers. An outbox entry's id is `E<n>`, the n-th that a side has shown; a sale's
//! id is `S<n>`; other times are `<ms>` and `<us>`, the run id is `<run>`, the n-th replication id `<replid n>`.
//!
//! In arguments the same names stand between `\x01` and `\x02`, and each side puts its own id there.

use flux_protocol::resp::OwnedFrame;

#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) entries: Vec<String>,
    /// With the product of each.
    pub(crate) sales: Vec<(String, String)>,
    pub(crate) run_id: String,
    /// All it ever had, the latest last.
    pub(crate) replication_ids: Vec<String>,
}

/// `E3` as an argument.
pub(crate) fn entry(number: usize) -> String {
    format!("\u{1}E{number}\u{2}")
}

/// The id of a product's latest sale, or of the one so many before it, as an argument.
pub(crate) fn sale(product: &str, before: usize) -> String {
    format!("\u{1}{product}{before}\u{2}")
}

impl Names {
    /// An argument with this side's ids in it. One that was never shown is an id that nobody has.
    pub(crate) fn fill(&self, argument: &str) -> String {
        let mut filled = String::new();
        let mut rest = argument;
        while let Some((before, behind)) = rest.split_once('\u{1}') {
            let (name, behind) = behind.split_once('\u{2}').expect("a name has an end");
            filled += before;
            filled += &self.id(name);
            rest = behind;
        }
        filled + rest
    }

    fn id(&self, name: &str) -> String {
        let number = || name[1..].parse::<usize>().expect("a number");
        match &name[..1] {
            "E" => self.entries.get(number()).cloned().unwrap_or("5-5".to_owned()),
            "R" => self.run_id.clone(),
            product => {
                let mut latest = self.sales.iter().rev().filter(|(of, _)| of == product);
                latest.nth(number()).map_or("7".to_owned(), |(_, sale)| sale.clone())
            }
        }
    }

    /// A reply as flat text, names in place of ids; ids that are new get one.
    pub(crate) fn flatten(&mut self, reply: &OwnedFrame) -> Vec<String> {
        let mut flat = Vec::new();
        self.append(reply, &mut flat);
        flat
    }

    fn append(&mut self, reply: &OwnedFrame, flat: &mut Vec<String>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match reply {
            OwnedFrame::SimpleString(bytes) => flat.push(format!("+{}", text(bytes))),
            OwnedFrame::Error(message) => flat.push(format!("-{}", self.mask(message))),
            OwnedFrame::Integer(number) => flat.push(number.to_string()),
            OwnedFrame::BulkString(bytes) => flat.push(format!("${}", self.mask(&text(bytes)))),
            OwnedFrame::Null => flat.push("null".to_owned()),
            OwnedFrame::Array(items) => {
                flat.push(format!("*{}", items.len()));
                items.iter().for_each(|item| self.append(item, flat));
            }
        }
    }

    fn mask(&mut self, text: &str) -> String {
        let mut masked = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, behind) = rest.split_at(at);
            let length = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
            masked += before;
            let closes = before.ends_with("\"closedAt\":");
            let sequence = behind[length..]
                .strip_prefix('-')
                .map_or(0, |tail| tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len()));
            let id = &behind[..length];
            let whole = if length == 13 && sequence > 0 { length + 1 + sequence } else { length };
            masked += &match length {
                13 if sequence > 0 => format!("E{}", place(&mut self.entries, &behind[..whole])),
                13 if closes => "<ms>".to_owned(),
                13 => match self.sales.iter().position(|(_, sale)| sale == id) {
                    Some(number) => format!("S{number}"),
                    None => "<ms>".to_owned(),
                },
                16 => "<us>".to_owned(),
                _ => id.to_owned(),
            };
            rest = &behind[whole..];
        }
        masked += rest;
        if text == self.run_id {
            return "<run>".to_owned();
        }
        if let Some(number) = self.replication_ids.iter().position(|id| id == text) {
            return format!("<replid {number}>");
        }
        masked
    }
}

/// Where `id` stands among `ids`; at the end, if it is new.
fn place(ids: &mut Vec<String>, id: &str) -> usize {
    ids.iter().position(|known| known == id).unwrap_or_else(|| {
        ids.push(id.to_owned());
        ids.len() - 1
    })
}
