//! Who of those whom a provider knows may come in, and what they may do.

use super::Identity;
use crate::{auth::Scope, config::Guests};

impl Guests {
    /// What somebody may do; `None` for who may not come in.
    pub(crate) fn scopes_of(&self, who: &Identity) -> Option<Vec<Scope>> {
        if is_among(who, &self.admin_groups, &self.admin_users) {
            return Some(vec![Scope::Admin]);
        }
        let is_guest = self.everybody || is_among(who, &self.groups, &self.users);
        is_guest.then(|| vec![Scope::Submit])
    }
}

fn is_among(who: &Identity, groups: &[String], users: &[String]) -> bool {
    who.groups.iter().any(|group| groups.contains(group)) || users.iter().any(|user| is_named(who, user))
}

/// Whether this name is theirs. One with an `@` is an address, and never a subject, which many providers let people choose.
fn is_named(who: &Identity, user: &str) -> bool {
    if user.contains('@') {
        return who.email.as_ref().is_some_and(|email| email.eq_ignore_ascii_case(user));
    }
    who.subject == user
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(subject: &str, email: Option<&str>, groups: &[&str]) -> Identity {
        Identity {
            issuer: "https://auth.lan".to_owned(),
            subject: subject.to_owned(),
            name: None,
            email: email.map(str::to_owned),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn groups_match_letter_by_letter_and_administrators_come_in_too() {
        let guests =
            Guests { groups: names(&["users"]), admin_groups: names(&["admins"]), ..Guests::default() };
        let scopes = |groups: &[&str]| guests.scopes_of(&who("ann", None, groups));
        assert_eq!(scopes(&["users"]), Some(vec![Scope::Submit]));
        assert_eq!(scopes(&["admins"]), Some(vec![Scope::Admin]));
        assert_eq!(scopes(&["x", "admins", "users"]), Some(vec![Scope::Admin]));
        for others in [&[][..], &["Users"], &["users "], &["superusers"], &["users,admins"], &["*"]] {
            assert_eq!(scopes(others), None, "{others:?}");
        }
    }

    #[test]
    fn people_are_named_by_address_or_subject() {
        let guests = Guests {
            users: names(&["Ann@example.org", "4711"]),
            admin_users: names(&["boss@example.org"]),
            ..Guests::default()
        };
        let scopes = |subject: &str, email| guests.scopes_of(&who(subject, email, &[]));
        assert_eq!(scopes("1", Some("ann@example.org")), Some(vec![Scope::Submit]));
        assert_eq!(scopes("1", Some("boss@example.org")), Some(vec![Scope::Admin]));
        assert_eq!(scopes("4711", None), Some(vec![Scope::Submit]));
        assert_eq!(scopes("boss@example.org", None), None, "a subject is no address");
        assert_eq!(scopes("1", Some("4711")), None, "an address is no subject");
        assert_eq!(scopes("1", None), None);
    }

    #[test]
    fn everybody_is_everybody_and_nobody_named_is_nobody() {
        let open = Guests { everybody: true, admin_groups: names(&["admins"]), ..Guests::default() };
        assert_eq!(open.scopes_of(&who("ann", None, &[])), Some(vec![Scope::Submit]));
        assert_eq!(open.scopes_of(&who("ann", None, &["admins"])), Some(vec![Scope::Admin]));
        assert_eq!(Guests::default().scopes_of(&who("ann", None, &["admins"])), None);
    }
}
