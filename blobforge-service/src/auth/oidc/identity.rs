//! Who somebody is, as the provider says.

use openidconnect::{
    AdditionalClaims, EndUserEmail, EndUserName, EndUserUsername, GenderClaim, IdTokenClaims, LocalizedClaim,
    UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::steering::steers;

/// The longest name or address that is kept, in characters.
const MAX_NAME: usize = 200;

/// Whatever a provider says beside the usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

impl OtherClaims {
    /// Before when this is not to be believed, in seconds since 1970.
    pub(super) fn not_before(&self) -> Option<f64> {
        self.0.get("nbf")?.as_f64()
    }

    /// The groups under this name. A list of texts counts, and nothing else: what a text with commas in it means, or a number
    /// in the list, only its author knows.
    fn groups(&self, claim: &str) -> Option<Vec<String>> {
        let groups = self.0.get(claim)?.as_array()?;
        groups.iter().map(|group| group.as_str().map(str::to_owned)).collect()
    }
}

/// Somebody whom the provider has let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Who says so.
    pub(crate) issuer: String,
    /// What they are called there, for ever and for nobody else.
    pub(crate) subject: String,
    /// What people call them.
    pub(crate) name: Option<String>,
    /// Their address, if the provider has made sure that it is theirs.
    pub(crate) email: Option<String>,
    /// Their groups.
    pub(crate) groups: Vec<String>,
}

impl Identity {
    /// How people are shown them.
    pub(crate) fn shown(&self) -> String {
        let names = [&self.name, &self.email].into_iter().flatten().chain([&self.subject]);
        let plain =
            names.map(|name| name.chars().filter(|c| is_plain(*c)).take(MAX_NAME).collect::<String>());
        plain.into_iter().find(|name| !name.trim().is_empty()).unwrap_or_default()
    }
}

/// Whether a letter of a name is one that people see, and that leaves the others where they are.
fn is_plain(letter: char) -> bool {
    let is_invisible =
        matches!(letter, '\u{AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}');
    !steers(letter) && !is_invisible
}

/// What one answer of the provider says of somebody. What one leaves out another may say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    name: Option<String>,
    email: Option<Email>,
    groups: Option<Vec<String>>,
}

/// An address, and whether the provider has made sure of it: said in one breath or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Email {
    address: String,
    is_verified: bool,
}

impl Told {
    pub(super) fn by_token<G: GenderClaim>(
        claims: &IdTokenClaims<OtherClaims, G>,
        groups_claim: &str,
    ) -> Self {
        let email = claims.email().zip(Some(claims.email_verified()));
        let groups = claims.additional_claims().groups(groups_claim);
        Self::new(claims.name(), claims.preferred_username(), email, groups)
    }

    pub(super) fn by_info<G: GenderClaim>(
        claims: &UserInfoClaims<OtherClaims, G>,
        groups_claim: &str,
    ) -> Self {
        let email = claims.email().zip(Some(claims.email_verified()));
        let groups = claims.additional_claims().groups(groups_claim);
        Self::new(claims.name(), claims.preferred_username(), email, groups)
    }

    fn new(
        name: Option<&LocalizedClaim<EndUserName>>,
        username: Option<&EndUserUsername>,
        email: Option<(&EndUserEmail, Option<bool>)>,
        groups: Option<Vec<String>>,
    ) -> Self {
        // The one that is in no language in particular.
        let name = name.and_then(|name| name.get(None)).map(|name| name.to_string());
        let email = email.map(|(address, is_verified)| Email {
            address: address.to_string(),
            is_verified: is_verified == Some(true),
        });
        Self { name: name.or_else(|| username.map(|name| name.to_string())), email, groups }
    }

    /// Whether there is nothing more to ask for.
    pub(super) fn is_whole(&self) -> bool {
        self.name.is_some() && self.email.is_some() && self.groups.is_some()
    }

    /// This, and what another answer adds.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            email: self.email.or(other.email),
            groups: self.groups.or(other.groups),
        }
    }

    pub(super) fn of(self, issuer: &str, subject: &str) -> Identity {
        Identity {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            name: self.name,
            // A longer one is nobody's; cut short, it would be another.
            email: self
                .email
                .filter(|email| email.is_verified && email.address.chars().count() <= MAX_NAME)
                .map(|email| email.address),
            groups: self.groups.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups(claims: Value) -> Option<Vec<String>> {
        serde_json::from_value::<OtherClaims>(claims).unwrap().groups("groups")
    }

    #[test]
    fn groups_are_a_list_of_texts_and_nothing_else() {
        assert_eq!(groups(json!({"groups": ["a", "b c"]})), Some(vec!["a".to_owned(), "b c".to_owned()]));
        assert_eq!(groups(json!({"groups": []})), Some(vec![]));
        for none in [
            json!({}),
            json!({"groups": "admins"}),
            json!({"groups": "users,admins"}),
            json!({"groups": {"admins": true}}),
            json!({"groups": ["users", 7]}),
            json!({"groups": [["admins"]]}),
            json!({"groups": null}),
            json!({"Groups": ["admins"]}),
        ] {
            assert_eq!(groups(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn an_address_counts_only_with_the_same_answers_word_that_it_is_verified() {
        let email = |address: &str, is_verified| Told {
            email: Some(Email { address: address.to_owned(), is_verified }),
            ..Told::default()
        };
        let found = |told: Told| told.of("issuer", "subject").email;
        assert_eq!(found(email("ann@example.org", true)), Some("ann@example.org".to_owned()));
        assert_eq!(found(email("ann@example.org", false)), None);
        assert_eq!(found(email("boss@example.org", false).or(email("ann@example.org", true))), None);
        assert_eq!(
            found(Told::default().or(email("ann@example.org", true))),
            Some("ann@example.org".to_owned())
        );
        let long = format!("{}@example.org", "a".repeat(MAX_NAME));
        assert_eq!(found(email(&long, true)), None);
    }

    #[test]
    fn people_are_shown_by_what_there_is_and_without_control_characters() {
        let told = Told { name: Some("Ann\u{1b}[2J".to_owned()), ..Told::default() };
        assert_eq!(told.of("issuer", "subject").shown(), "Ann[2J");
        assert_eq!(Told::default().of("issuer", "subject").shown(), "subject");
        let told = Told { name: Some("\u{202E}nnA\u{200B}".to_owned()), ..Told::default() };
        assert_eq!(told.of("issuer", "subject").shown(), "nnA");
        let told = Told { name: Some("\u{2066}\u{200B} ".to_owned()), ..Told::default() };
        assert_eq!(told.of("issuer", "subject").shown(), "subject");
    }
}
