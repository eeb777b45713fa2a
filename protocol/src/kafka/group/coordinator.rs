//! Where a group's coordinator is: a question of its own, since it can move while the membership stands.
//!
//! Never decides how long to wait before it is asked again.

use kafka_protocol::messages::FindCoordinatorResponse;

use crate::kafka::error_code as code;
use crate::kafka::metadata::NodeId;
use crate::time::Instant;

/// Where the coordinator listens, as FindCoordinator says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorAddress {
    /// Its id.
    pub node: NodeId,
    /// Its host, not checked.
    pub host: String,
    /// Its port, not checked.
    pub port: i32,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coordinator {
    Unknown { not_before: Instant },
    Asked,
    Known(NodeId),
}

impl Coordinator {
    pub(super) fn node(self) -> Option<NodeId> {
        match self {
            Coordinator::Known(node) => Some(node),
            Coordinator::Unknown { .. } | Coordinator::Asked => None,
        }
    }

    /// When a broker is to be asked; `None`: one was asked, or there is nothing to ask.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Coordinator::Unknown { not_before } => Some(not_before),
            Coordinator::Asked | Coordinator::Known(_) => None,
        }
    }
}

/// What the answer says of `group`.
///
/// # Errors
/// The broker's error code; 0 where it named no broker all the same.
pub(super) fn read(response: &FindCoordinatorResponse, group: &str) -> Result<CoordinatorAddress, i16> {
    let found = response.coordinators.iter().find(|its| *its.key == *group).ok_or(code::COORDINATOR_NOT_AVAILABLE)?;
    if found.error_code != 0 || found.node_id.0 < 0 {
        return Err(found.error_code);
    }
    Ok(CoordinatorAddress { node: found.node_id.0, host: found.host.to_string(), port: found.port })
}

/// The group is not there, or not yet: ask who coordinates it.
pub(super) fn is_elsewhere(error: i16) -> bool {
    matches!(error, code::COORDINATOR_LOAD_IN_PROGRESS | code::COORDINATOR_NOT_AVAILABLE | code::NOT_COORDINATOR)
}
