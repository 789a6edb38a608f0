//! What only administrators see: who may come in, who did what, and how the service is set up.

pub(super) mod audit;
pub(super) mod system;
pub(super) mod tokens;
pub(super) mod types;
pub(super) mod users;
pub(super) mod webhooks;

/// The pages for administrators, each with what it is called and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Tokens,
    Users,
    Audit,
    Types,
    Webhooks,
    System,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Tokens, "Tokens", "/admin/tokens"),
        (Self::Users, "Users", "/admin/users"),
        (Self::Audit, "Audit", "/admin/audit"),
        (Self::Types, "Types", "/admin/types"),
        (Self::Webhooks, "Webhooks", "/admin/webhooks"),
        (Self::System, "System", "/admin/system"),
    ];

    /// All of them, and whether this is the one.
    fn links(self) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
        Self::ALL.into_iter().map(move |(tab, name, to)| (name, to, tab == self))
    }
}
