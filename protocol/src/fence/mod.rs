//! Which Redis may sell: the fences of topic `<orders>-fences`, and who obeys them (docs/FENCE.md).
//!
//! A fence names the one Redis from which a generation of a sale is sold. Rebuilds and `/init` write it; each edge process
//! writes heartbeats into the same partition and sells while it has lately read one of its own back, and with it every fence
//! before it. [`record`] is what stands in the topic, [`FenceLog`] that topic over the wire, [`Member`] an edge process, [`Watch`] the wait of a rebuild. `lab/model`
//! checks these very machines against an adversary.
//!
//! Nothing here asks Redis, or sells: what is refused here must not be asked of Redis; what is not refused, Redis' script looks
//! at once more.

pub mod log;
pub mod member;
pub mod record;
pub mod spans;
pub mod watch;

pub use log::{FenceLog, FenceLogConfig, FenceLogEvent};
pub use member::{Member, Refusal, Standing};
pub use record::{Fence, FenceRecord, Gone, Heartbeat, Replid};
pub use spans::Spans;
pub use watch::{Wait, Watch};
