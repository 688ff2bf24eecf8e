//! Every error a client can see, with etcd's code and text: clients compare the texts, so each is a contract.

use base::{Error, Kind, Refusal};
use tonic::{Code, Status};

/// A code and a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// gRPC's code.
    pub code: Code,
    /// etcd's text.
    pub text: &'static str,
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Status {
        Status::new(fault.code, fault.text)
    }
}

macro_rules! faults {
    ($($name:ident: $code:ident, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: Fault = Fault { code: Code::$code, text: $text };)*
        /// All of etcd's errors.
        pub const ALL: &[Fault] = &[$($name),*];
    };
}

faults! {
    CANCELED: Cancelled, "etcdserver: request canceled";
    WATCH_CANCELED: Cancelled, "etcdserver: watch canceled";
    CORRUPT: DataLoss, "etcdserver: corrupt cluster";
    DEADLINE_EXCEEDED: DeadlineExceeded, "etcdserver: context deadline exceeded";
    AUTH_NOT_ENABLED: FailedPrecondition, "etcdserver: authentication is not enabled";
    BAD_LEADER_TRANSFEREE: FailedPrecondition, "etcdserver: bad leader transferee";
    CLUSTER_ID_MISMATCH: FailedPrecondition, "etcdserver: cluster ID mismatch";
    CLUSTER_VERSION_UNAVAILABLE: FailedPrecondition, "etcdserver: cluster version not found during downgrade";
    DOWNGRADE_IN_PROCESS: FailedPrecondition, "etcdserver: cluster has a downgrade job in progress";
    LEARNER_NOT_READY: FailedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader";
    LEASE_EXIST: FailedPrecondition, "etcdserver: lease already exists";
    MEMBER_EXIST: FailedPrecondition, "etcdserver: member ID already exist";
    MEMBER_NOT_ENOUGH_STARTED: FailedPrecondition, "etcdserver: re-configuration failed due to not enough started members";
    MEMBER_NOT_LEARNER: FailedPrecondition, "etcdserver: can only promote a learner member";
    NO_INFLIGHT_DOWNGRADE: FailedPrecondition, "etcdserver: no inflight downgrade job";
    NOT_CAPABLE: FailedPrecondition, "etcdserver: not capable";
    NOT_LEADER: FailedPrecondition, "etcdserver: not leader";
    NOT_SUPPORTED_FOR_LEARNER: FailedPrecondition, "etcdserver: rpc not supported for learner";
    PEER_URL_EXIST: FailedPrecondition, "etcdserver: Peer URLs already exists";
    PERMISSION_NOT_GRANTED: FailedPrecondition, "etcdserver: permission is not granted to the role";
    ROLE_ALREADY_EXIST: FailedPrecondition, "etcdserver: role name already exists";
    ROLE_NOT_FOUND: FailedPrecondition, "etcdserver: role name not found";
    ROLE_NOT_GRANTED: FailedPrecondition, "etcdserver: role is not granted to the user";
    ROOT_ROLE_NOT_EXIST: FailedPrecondition, "etcdserver: root user does not have root role";
    ROOT_USER_NOT_EXIST: FailedPrecondition, "etcdserver: root user does not exist";
    TOO_MANY_LEARNERS: FailedPrecondition, "etcdserver: too many learner members in cluster";
    USER_ALREADY_EXIST: FailedPrecondition, "etcdserver: user name already exists";
    USER_NOT_FOUND: FailedPrecondition, "etcdserver: user name not found";
    AUTH_FAILED: InvalidArgument, "etcdserver: authentication failed, invalid user ID or password";
    AUTH_OLD_REVISION: InvalidArgument, "etcdserver: revision of auth store is old";
    DUPLICATE_KEY: InvalidArgument, "etcdserver: duplicate key given in txn request";
    EMPTY_KEY: InvalidArgument, "etcdserver: key is not provided";
    INVALID_AUTH_MGMT: InvalidArgument, "etcdserver: invalid auth management";
    INVALID_CLIENT_API_VERSION: InvalidArgument, "etcdserver: invalid client api version";
    INVALID_DOWNGRADE_TARGET_VERSION: InvalidArgument, "etcdserver: invalid downgrade target version";
    INVALID_SORT_OPTION: InvalidArgument, "etcdserver: invalid sort option";
    KEY_NOT_FOUND: InvalidArgument, "etcdserver: key not found";
    LEASE_PROVIDED: InvalidArgument, "etcdserver: lease is provided";
    MEMBER_BAD_URLS: InvalidArgument, "etcdserver: given member URLs are invalid";
    PERMISSION_NOT_GIVEN: InvalidArgument, "etcdserver: permission not given";
    REQUEST_TOO_LARGE: InvalidArgument, "etcdserver: request is too large";
    ROLE_EMPTY: InvalidArgument, "etcdserver: role name is empty";
    TOO_MANY_OPS: InvalidArgument, "etcdserver: too many operations in txn request";
    USER_EMPTY: InvalidArgument, "etcdserver: user name is empty";
    VALUE_PROVIDED: InvalidArgument, "etcdserver: value is provided";
    WRONG_DOWNGRADE_VERSION_FORMAT: InvalidArgument, "etcdserver: wrong downgrade target version format";
    LEASE_NOT_FOUND: NotFound, "etcdserver: requested lease not found";
    MEMBER_NOT_FOUND: NotFound, "etcdserver: member not found";
    COMPACTED: OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    FUTURE_REV: OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    LEASE_TTL_TOO_LARGE: OutOfRange, "etcdserver: too large lease TTL";
    PERMISSION_DENIED: PermissionDenied, "etcdserver: permission denied";
    NO_SPACE: ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    TOO_MANY_REQUESTS: ResourceExhausted, "etcdserver: too many requests";
    INVALID_AUTH_TOKEN: Unauthenticated, "etcdserver: invalid auth token";
    LEADER_CHANGED: Unavailable, "etcdserver: leader changed";
    NO_LEADER: Unavailable, "etcdserver: no leader";
    STOPPED: Unavailable, "etcdserver: server stopped";
    TIMEOUT: Unavailable, "etcdserver: request timed out";
    TIMEOUT_DUE_TO_CONNECTION_LOST: Unavailable, "etcdserver: request timed out, possibly due to connection lost";
    TIMEOUT_DUE_TO_LEADER_FAIL: Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    TIMEOUT_WAIT_APPLIED_INDEX: Unavailable, "etcdserver: request timed out, waiting for the applied index took too long";
    UNHEALTHY: Unavailable, "etcdserver: unhealthy cluster";
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        match refusal {
            Refusal::EmptyKey => EMPTY_KEY,
            Refusal::KeyNotFound => KEY_NOT_FOUND,
            Refusal::ValueProvided => VALUE_PROVIDED,
            Refusal::LeaseProvided => LEASE_PROVIDED,
            Refusal::LeaseNotFound => LEASE_NOT_FOUND,
            Refusal::TooManyOps => TOO_MANY_OPS,
            Refusal::DuplicateKey => DUPLICATE_KEY,
            Refusal::InvalidSortOption => INVALID_SORT_OPTION,
            Refusal::RequestTooLarge => REQUEST_TOO_LARGE,
            Refusal::Compacted => COMPACTED,
            Refusal::FutureRevision => FUTURE_REV,
            Refusal::NoSpace => NO_SPACE,
            Refusal::TooManyRequests => TOO_MANY_REQUESTS,
            Refusal::Timeout => TIMEOUT,
        }
    }
}

/// What a client is told of an error from below. clientv3 sends a read again after `Unavailable`, a write never: so
/// `Unavailable` is what an unknown outcome must be, and no other code may stand for it.
pub fn status(error: &Error) -> Status {
    match &error.kind {
        Kind::Refused(refusal) => Fault::from(*refusal).into(),
        Kind::Retry => TIMEOUT.into(),
        Kind::Elsewhere { leader: None, .. } => NO_LEADER.into(),
        Kind::Elsewhere { leader: Some(_), .. } => LEADER_CHANGED.into(),
        Kind::Unknown => TIMEOUT_DUE_TO_LEADER_FAIL.into(),
        Kind::Corrupt => CORRUPT.into(),
        Kind::Closing => STOPPED.into(),
        Kind::Disk => NO_SPACE.into(),
        Kind::Unimplemented => not_built(&error.text),
    }
}

/// The answer of what is not built yet; names the feature.
pub fn not_built(feature: &str) -> Status {
    Status::unimplemented(format!("flotilla: not built yet: {feature}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{RangeId, StoreId};
    use std::collections::BTreeMap;

    #[test]
    fn there_are_63_errors_and_no_text_twice() {
        assert_eq!(ALL.len(), 63);
        let mut by_code = BTreeMap::new();
        let mut texts: Vec<_> = ALL.iter().map(|f| f.text).collect();
        for fault in ALL {
            assert!(fault.text.starts_with("etcdserver: "), "{}", fault.text);
            *by_code.entry(format!("{:?}", fault.code)).or_insert(0) += 1;
        }
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 63);
        let count = |code: &str| by_code[code];
        assert_eq!((count("FailedPrecondition"), count("InvalidArgument"), count("Unavailable")), (24, 18, 8));
        assert_eq!((count("OutOfRange"), count("NotFound"), count("ResourceExhausted")), (3, 2, 2));
    }

    #[test]
    fn every_kind_has_its_code() {
        let code = |kind: Kind| status(&Error::new(kind, "watches")).code();
        let elsewhere = |leader| Kind::Elsewhere { range: RangeId(7), leader };
        assert_eq!(code(Kind::Retry), Code::Unavailable);
        assert_eq!(status(&Error::new(elsewhere(None), "")).message(), "etcdserver: no leader");
        assert_eq!(status(&Error::new(elsewhere(Some(StoreId(2))), "")).message(), "etcdserver: leader changed");
        assert_eq!(code(Kind::Unknown), Code::Unavailable, "a write that may have happened is not refused");
        assert_eq!(code(Kind::Corrupt), Code::DataLoss);
        assert_eq!(code(Kind::Closing), Code::Unavailable);
        assert_eq!(status(&Error::new(Kind::Disk, "")).message(), "etcdserver: mvcc: database space exceeded");
        assert_eq!(code(Kind::Refused(Refusal::Compacted)), Code::OutOfRange);
        let built = status(&Error::new(Kind::Unimplemented, "watches"));
        assert_eq!(built.code(), Code::Unimplemented);
        assert!(built.message().contains("watches"));
    }
}
