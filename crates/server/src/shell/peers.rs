//! Who may talk to this node, and what is made of what they say.

use super::fatal::Fatal;
use super::{Inbox, View};
use base::{BootId, StoreId};
use node::{Identity, Input, boot};
use rocks::Rocks;
use transport::{Event, Hello, Side};

/// A lane of the node as the transport calls it.
pub fn lane(lane: node::Lane) -> transport::Lane {
    match lane {
        node::Lane::Control => transport::Lane::Control,
        node::Lane::Append => transport::Lane::Append,
        node::Lane::Snapshot => transport::Lane::Snapshot,
    }
}

/// The words by which a node recognises that its own disk was emptied.
const EMPTIED: &str = "its disk was emptied";

/// The rules of identity (protocols §9).
pub fn admit(engine: &Rocks, own: &Identity, names: &[(StoreId, String)], hello: &Hello) -> Result<(), String> {
    let Hello { cluster, store, boot: theirs, name, fingerprint, .. } = hello;
    if *cluster != own.cluster {
        return Err(format!(
            "{name} belongs to another cluster ({:x}, this is {:x}): check --initial-cluster and --initial-cluster-token",
            cluster.0, own.cluster.0
        ));
    }
    if !names.iter().any(|(s, n)| s == store && n == name) {
        return Err(format!("{name} is not a member of this cluster as {store}: check --name and --initial-cluster"));
    }
    if *fingerprint != own.founding {
        return Err(format!(
            "{name} was founded with other settings: --initial-split-keys, --replication-factor and --initial-cluster must be equal on all nodes"
        ));
    }
    known_boot(engine, name, *theirs)
}

fn known_boot(engine: &Rocks, name: &str, theirs: BootId) -> Result<(), String> {
    let known = boot::known_boot(engine, name).map_err(|e| format!("cannot look up {name}: {e}"))?;
    match known {
        Some(known) if known != theirs => Err(format!(
            "{name} is known with another disk: {EMPTIED} or replaced, and with it promises that it made; \
             start it with its old data directory if there still is one; taking in a new node in its place is not \
             built yet"
        )),
        Some(_) => Ok(()),
        None => boot::remember_boot(engine, name, theirs).map_err(|e| format!("cannot remember {name}: {e}")),
    }
}

/// What happens between nodes becomes an input; a refusal becomes a line in the log, and, where it says that this
/// node's own disk is not the one it was, the end.
pub fn on_event(event: Event, inbox: &Inbox, fatal: &Fatal) {
    let input = match event {
        Event::Connected { peer, hello } => {
            tracing::info!(peer = %peer, name = %hello.name, "peer connected");
            Input::<View>::Connected(peer)
        }
        Event::Disconnected { peer } => {
            tracing::warn!(peer = %peer, "peer disconnected");
            Input::Disconnected(peer)
        }
        Event::Frame { peer, bytes, .. } => Input::Frame(peer, bytes),
        Event::Refused { peer, by, text } => {
            tracing::error!(peer = %peer, by = ?by, "refused: {text}");
            if by == Side::Them && text.contains(EMPTIED) {
                fatal.tell(format!("{peer} refuses this node: {text}"));
            }
            return;
        }
    };
    // A closed inbox means that this node is going down.
    let _ = inbox.send(input);
}
