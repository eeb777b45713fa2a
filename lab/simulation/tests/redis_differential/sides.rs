//! What is done to both servers, and how what comes of it is compared.

use bytes::BytesMut;
use flux_protocol::resp::{Decoder, OwnedFrame, command};
use flux_test_support::redis::frame;

use crate::Step;
use crate::mask::Names;

/// One of the two servers.
pub(crate) trait Side {
    fn names(&mut self) -> &mut Names;
    fn exchange(&mut self, arguments: &[String]) -> OwnedFrame;
    /// `INFO`, whatever transaction is under way.
    fn info(&mut self, section: &str) -> OwnedFrame;
    fn wait(&mut self, ms: u64);
    fn set_full(&mut self, full: bool);
    fn set_replica(&mut self, replica: bool);
    fn renew(&mut self);

    /// Does one step and says what came of it, in terms that both sides share.
    fn take(&mut self, step: &Step) -> Vec<String> {
        match step {
            Step::Ask(arguments) | Step::AskLife(arguments) => {
                let filled: Vec<String> = arguments.iter().map(|argument| self.names().fill(argument)).collect();
                let reply = self.exchange(&filled);
                self.note_sale(arguments, &reply);
                self.names().flatten(&reply)
            }
            Step::AskUnordered { arguments, chunk } => {
                let filled: Vec<String> = arguments.iter().map(|argument| self.names().fill(argument)).collect();
                let reply = self.exchange(&filled);
                let flat = self.names().flatten(&reply);
                let (head, members) = flat.split_first().expect("a reply");
                let mut members: Vec<&[String]> = members.chunks(*chunk).collect();
                members.sort();
                let masked = members.into_iter().flat_map(|member| match member {
                    // Equal to the sale's id or not, as it happens.
                    [field, _] if field == "$opened_at" || field == "$closed_at" => {
                        [field.clone(), "time".to_owned()].to_vec()
                    }
                    other => other.to_vec(),
                });
                std::iter::once(head.clone()).chain(masked).collect()
            }
            Step::Wait(ms) => {
                self.wait(*ms);
                Vec::new()
            }
            Step::Full(full) => {
                self.set_full(*full);
                Vec::new()
            }
            Step::Replica(replica) => {
                self.set_replica(*replica);
                Vec::new()
            }
            Step::Renew => {
                self.renew();
                Vec::new()
            }
        }
    }

    /// `init` answers `OK <sale id> 1 …`: the only place where a sale's id is first seen.
    fn note_sale(&mut self, arguments: &[String], reply: &OwnedFrame) {
        let (OwnedFrame::Array(items), Some(stock)) = (reply, arguments.get(3)) else { return };
        let [OwnedFrame::BulkString(ok), OwnedFrame::BulkString(id), ..] = &items[..] else { return };
        let product = stock.strip_prefix("product:{").and_then(|rest| rest.strip_suffix("}:stock"));
        let id = String::from_utf8_lossy(id).into_owned();
        if let Some(product) = product
            && ok == b"OK"
            && id.len() == 13
            && self.names().sales.iter().all(|(_, known)| *known != id)
        {
            self.names().sales.push((product.to_owned(), id));
        }
    }

    /// Who it is now; the sale may have been bound to it.
    fn look_who(&mut self) {
        let mut field = |section: &str, name: &str| {
            let reply = self.info(section);
            let OwnedFrame::BulkString(text) = reply else { panic!("INFO answers with text: {reply:?}") };
            let text = String::from_utf8(text).expect("text");
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.expect("INFO names the field").to_owned()
        };
        let (run_id, replication_id) = (field("server", "run_id"), field("replication", "master_replid"));
        self.names().run_id = run_id;
        self.names().replication_ids.push(replication_id);
    }
}

pub(crate) fn encode(arguments: &[String]) -> Vec<u8> {
    let mut wire = Vec::new();
    command(&mut wire, &arguments.iter().map(|argument| argument.as_bytes()).collect::<Vec<_>>());
    wire
}

pub(crate) fn decode(decoder: &mut Decoder, buffer: &mut BytesMut) -> Option<OwnedFrame> {
    let reply = decoder.poll(buffer).expect("RESP2")?;
    Some(frame(reply.value()))
}
