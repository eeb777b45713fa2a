//! Redis forgets returns that are settled, once their sale was replaced: what was given back to a sale is noted there so that a
//! repeat gives nothing, and the notes of a product's sales would else grow for ever.
//!
//! Those of the sale under way stay: another worker may have asked for what is pending a moment ago and not yet have heard. Those
//! of earlier sales can give nothing back any more, and are only taken out when the ledger has them settled, so that it never
//! calls withdrawn what was returned.

use std::collections::{BTreeMap, BTreeSet};

use flux_protocol::order::Uuid;
use flux_protocol::redis_keys;
use flux_protocol::resp::command;

use crate::ledger::{Ledger, Units};
use crate::redis::{Redis, RedisError, array, strings, text};
use crate::returns::ReturnsError;

/// Notes read at once.
const PAGE: &[u8] = b"500";

/// By product the sale id under which its notes were looked through.
#[derive(Debug, Default)]
pub struct Forgotten {
    looked: BTreeMap<String, u64>,
}

impl Forgotten {
    /// Redis holds sale `held` of the product: where it is another one than at the last look, notes of earlier ones go. How many.
    ///
    /// # Errors
    /// [`ReturnsError`]; it is done again the next time.
    pub async fn look(
        &mut self,
        ledger: &mut Ledger,
        redis: &mut Redis,
        product: &str,
        held: u64,
    ) -> Result<u64, ReturnsError> {
        if self.looked.get(product) == Some(&held) {
            return Ok(0);
        }
        let forgotten = match forget(ledger, redis, product, held).await {
            // It is of another type, or not for us to change: its sale is suspended for that, or Redis refuses more than this.
            Err(ReturnsError::Redis(RedisError::Server { .. })) => 0,
            forgotten => forgotten?,
        };
        self.looked.insert(product.to_owned(), held);
        Ok(forgotten)
    }

    /// Forgets products that the ledger does not name any more.
    pub fn keep(&mut self, units: &[Units]) {
        let named: BTreeSet<&str> = units.iter().map(|units| units.product_id.as_str()).collect();
        self.looked.retain(|product, _| named.contains(product.as_str()));
    }
}

async fn forget(ledger: &mut Ledger, redis: &mut Redis, product: &str, held: u64) -> Result<u64, ReturnsError> {
    let returned = redis_keys::of(product, "returned");
    let (mut cursor, mut forgotten) = ("0".to_owned(), 0);
    loop {
        let page = redis.ask(&[b"SSCAN", returned.as_bytes(), cursor.as_bytes(), b"COUNT", PAGE]).await?;
        let mut page = array(page)?.into_iter();
        let (Some(next), Some(noted)) = (page.next(), page.next()) else {
            return Err(RedisError::Unexpected("a page without a cursor").into());
        };
        // Its mark is none.
        let noted: Vec<Uuid> = strings(noted)?.iter().filter_map(|member| Uuid::parse(member.as_bytes())).collect();
        if !noted.is_empty() {
            let settled = ledger.settled_returns(noted, held).await?;
            if !settled.is_empty() {
                let names: Vec<String> = settled.iter().map(Uuid::to_string).collect();
                let mut arguments: Vec<&[u8]> = vec![b"SREM", returned.as_bytes()];
                arguments.extend(names.iter().map(|name| name.as_bytes()));
                let mut wire = Vec::new();
                command(&mut wire, &arguments);
                redis.ask_many(wire, 1).await?;
                forgotten += settled.len() as u64;
            }
        }
        cursor = text(next)?;
        if cursor == "0" {
            return Ok(forgotten);
        }
    }
}
