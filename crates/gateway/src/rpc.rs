//! Every RPC of etcd's API: its path, its shape, and whether it is built.

/// How many messages go which way, in Prometheus' words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One there, one back.
    Unary,
    /// One there, many back.
    ServerStream,
    /// Many both ways.
    Bidi,
}

impl Shape {
    /// The metrics' label `grpc_type`.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Unary => "unary",
            Shape::ServerStream => "server_stream",
            Shape::Bidi => "bidi_stream",
        }
    }
}

macro_rules! rpcs {
    ($($name:ident $path:literal $shape:ident $feature:expr;)*) => {
        /// One RPC.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Rpc { $(#[doc = $path] $name),* }

        impl Rpc {
            /// All RPCs.
            pub const ALL: &[Rpc] = &[$(Rpc::$name),*];
            /// The one a request's path names.
            pub fn of(path: &str) -> Option<Rpc> {
                match path { $($path => Some(Rpc::$name),)* _ => None }
            }
            /// `/package.Service/Method`.
            pub fn path(self) -> &'static str {
                match self { $(Rpc::$name => $path),* }
            }
            /// How many messages go which way.
            pub fn shape(self) -> Shape {
                match self { $(Rpc::$name => Shape::$shape),* }
            }
            /// The feature it waits for; `None` when it is built.
            pub fn missing(self) -> Option<&'static str> {
                match self { $(Rpc::$name => $feature),* }
            }
        }
    };
}

const BUILT: Option<&str> = None;
const WATCH: Option<&str> = Some("watches");
const LEASE: Option<&str> = Some("leases");
const MEMBERS: Option<&str> = Some("changes of membership");
const AUTH: Option<&str> = Some("authentication");
const LOCK: Option<&str> = Some("locks");
const ELECTION: Option<&str> = Some("elections");

rpcs! {
    Put "/etcdserverpb.KV/Put" Unary BUILT;
    Range "/etcdserverpb.KV/Range" Unary BUILT;
    Txn "/etcdserverpb.KV/Txn" Unary BUILT;
    DeleteRange "/etcdserverpb.KV/DeleteRange" Unary BUILT;
    Compact "/etcdserverpb.KV/Compact" Unary BUILT;
    RangeStream "/etcdserverpb.KV/RangeStream" ServerStream Some("streamed scans");
    Watch "/etcdserverpb.Watch/Watch" Bidi WATCH;
    LeaseGrant "/etcdserverpb.Lease/LeaseGrant" Unary LEASE;
    LeaseRevoke "/etcdserverpb.Lease/LeaseRevoke" Unary LEASE;
    LeaseKeepAlive "/etcdserverpb.Lease/LeaseKeepAlive" Bidi LEASE;
    LeaseTimeToLive "/etcdserverpb.Lease/LeaseTimeToLive" Unary LEASE;
    LeaseLeases "/etcdserverpb.Lease/LeaseLeases" Unary LEASE;
    MemberAdd "/etcdserverpb.Cluster/MemberAdd" Unary MEMBERS;
    MemberRemove "/etcdserverpb.Cluster/MemberRemove" Unary MEMBERS;
    MemberUpdate "/etcdserverpb.Cluster/MemberUpdate" Unary MEMBERS;
    MemberList "/etcdserverpb.Cluster/MemberList" Unary BUILT;
    MemberPromote "/etcdserverpb.Cluster/MemberPromote" Unary MEMBERS;
    Alarm "/etcdserverpb.Maintenance/Alarm" Unary BUILT;
    Status "/etcdserverpb.Maintenance/Status" Unary BUILT;
    Defragment "/etcdserverpb.Maintenance/Defragment" Unary Some("defragmentation");
    Hash "/etcdserverpb.Maintenance/Hash" Unary Some("a hash of the whole disk");
    HashKv "/etcdserverpb.Maintenance/HashKV" Unary BUILT;
    Snapshot "/etcdserverpb.Maintenance/Snapshot" ServerStream Some("snapshots for clients");
    MoveLeader "/etcdserverpb.Maintenance/MoveLeader" Unary Some("moving leadership by hand");
    Downgrade "/etcdserverpb.Maintenance/Downgrade" Unary Some("downgrades");
    AuthEnable "/etcdserverpb.Auth/AuthEnable" Unary AUTH;
    AuthDisable "/etcdserverpb.Auth/AuthDisable" Unary AUTH;
    AuthStatus "/etcdserverpb.Auth/AuthStatus" Unary AUTH;
    Authenticate "/etcdserverpb.Auth/Authenticate" Unary AUTH;
    UserAdd "/etcdserverpb.Auth/UserAdd" Unary AUTH;
    UserGet "/etcdserverpb.Auth/UserGet" Unary AUTH;
    UserList "/etcdserverpb.Auth/UserList" Unary AUTH;
    UserDelete "/etcdserverpb.Auth/UserDelete" Unary AUTH;
    UserChangePassword "/etcdserverpb.Auth/UserChangePassword" Unary AUTH;
    UserGrantRole "/etcdserverpb.Auth/UserGrantRole" Unary AUTH;
    UserRevokeRole "/etcdserverpb.Auth/UserRevokeRole" Unary AUTH;
    RoleAdd "/etcdserverpb.Auth/RoleAdd" Unary AUTH;
    RoleGet "/etcdserverpb.Auth/RoleGet" Unary AUTH;
    RoleList "/etcdserverpb.Auth/RoleList" Unary AUTH;
    RoleDelete "/etcdserverpb.Auth/RoleDelete" Unary AUTH;
    RoleGrantPermission "/etcdserverpb.Auth/RoleGrantPermission" Unary AUTH;
    RoleRevokePermission "/etcdserverpb.Auth/RoleRevokePermission" Unary AUTH;
    Lock "/v3lockpb.Lock/Lock" Unary LOCK;
    Unlock "/v3lockpb.Lock/Unlock" Unary LOCK;
    Campaign "/v3electionpb.Election/Campaign" Unary ELECTION;
    Proclaim "/v3electionpb.Election/Proclaim" Unary ELECTION;
    Leader "/v3electionpb.Election/Leader" Unary ELECTION;
    Observe "/v3electionpb.Election/Observe" ServerStream ELECTION;
    Resign "/v3electionpb.Election/Resign" Unary ELECTION;
}

impl Rpc {
    /// The metrics' label `grpc_service`, and with it `grpc_method`.
    pub fn names(self) -> (&'static str, &'static str) {
        self.path()[1..].split_once('/').expect("a path has a service and a method")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_49_are_known_by_their_path() {
        assert_eq!(Rpc::ALL.len(), 49);
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::of(rpc.path()), Some(*rpc));
        }
        assert_eq!(Rpc::HashKv.names(), ("etcdserverpb.Maintenance", "HashKV"));
        assert_eq!(Rpc::of("/etcdserverpb.KV/Scan"), None);
    }
}
