//! The provider: what it says of itself, kept for a while, and how it is asked about somebody.

use std::{error::Error, sync::Arc, time::Duration};

use blobforge_core::Clock;
use openidconnect::{
    AuthType, AuthenticationFlow, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken,
    DiscoveryError, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenFields,
    IssuerUrl, LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadataWithLogout, RedirectUrl, RequestTokenError, Scope,
    StandardErrorResponse, StandardTokenResponse, SubjectIdentifier, UserInfoClaims, UserInfoError,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreClientAuthMethod, CoreErrorResponseType, CoreGenderClaim,
        CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreResponseType,
        CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
};
use tokio::sync::Mutex;

use super::{
    Identity, OidcError,
    http::ProviderHttp,
    id_token::{is_of_unknown_key, verified},
    identity::{OtherClaims, Told},
    shortened,
};
use crate::{
    auth::LOGIN,
    config::{OidcOptions, is_private},
    webhooks::innermost,
};

/// For how long what the provider says of itself is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(60 * 60);
/// How long ago it may have answered for a browser to be sent there: people are told here that it is away.
const ANSWERED_LATELY: Duration = Duration::from_secs(60);
/// The least time between two questions: a crowd that comes while the provider is away shares one answer.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// What is asked for unless the settings say otherwise.
const USUAL_SCOPES: [&str; 2] = ["email", "profile"];
/// What is asked for besides, where the provider has it: Google, for one, refuses it.
const GROUPS_SCOPE: &str = "groups";

type Fields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
pub(super) type Tokens = StandardTokenResponse<Fields, CoreTokenType>;
pub(super) type Asking = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;
type Metadata = ProviderMetadataWithLogout;

/// The provider that people log in with.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    options: OidcOptions,
    http: ProviderHttp,
    clock: Arc<dyn Clock>,
    last: Arc<Mutex<Option<Heard>>>,
}

/// What the provider said when it was last asked about itself, or why it did not.
#[derive(Clone, Debug)]
struct Heard {
    at: Duration,
    answer: Result<Arc<Metadata>, String>,
}

/// A login as the provider is asked for it.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) url: String,
    pub(super) state: String,
    pub(super) nonce: Nonce,
    pub(super) verifier: PkceCodeVerifier,
}

impl Provider {
    /// # Errors
    /// When no HTTP client can be made.
    pub(crate) fn new(options: OidcOptions, clock: Arc<dyn Clock>) -> Result<Self, reqwest::Error> {
        Ok(Self { options, http: ProviderHttp::new()?, clock, last: Arc::default() })
    }

    /// What it was told to be.
    pub(crate) fn options(&self) -> &OidcOptions {
        &self.options
    }

    /// Finds out whether it answers, and what it can do.
    ///
    /// # Errors
    /// When it does not answer as a provider.
    pub(crate) async fn look(&self) -> Result<Looked, OidcError> {
        let metadata = self.heard_within(Duration::ZERO).await?;
        Ok(Looked {
            has_groups: offers(&metadata, GROUPS_SCOPE),
            has_logout: metadata.additional_metadata().end_session_endpoint.is_some(),
        })
    }

    /// Where to send a browser so that the provider asks who is there. It is asked about itself if it was not asked
    /// lately.
    pub(super) async fn question(&self) -> Result<Question, OidcError> {
        let metadata = self.heard_within(ANSWERED_LATELY).await?;
        let scopes = self.scopes(&metadata);
        let client = self.client(&metadata)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let mut request = client.authorize_url(flow, CsrfToken::new_random, Nonce::new_random);
        for scope in scopes {
            request = request.add_scope(Scope::new(scope));
        }
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        Ok(Question { url: url.into(), state: state.into_secret(), nonce, verifier })
    }

    /// Who somebody is who came back with a code.
    pub(super) async fn who(
        &self,
        code: String,
        nonce: &Nonce,
        verifier: PkceCodeVerifier,
    ) -> Result<Identity, OidcError> {
        let mut metadata = self.heard_within(BELIEVED_FOR).await?;
        let mut client = self.client(&metadata)?;
        let exchange =
            client.exchange_code(AuthorizationCode::new(code)).map_err(|error| untrusted(&error))?;
        let tokens = exchange.set_pkce_verifier(verifier).request_async(&self.http).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::Request(error) => self.away(innermost(&error)),
            other => untrusted(&other),
        })?;
        let mut claims = verified(&client, &self.options.client_id, &tokens, nonce);
        if matches!(&claims, Err(error) if is_of_unknown_key(error)) {
            // It may have changed its keys since it was asked.
            metadata = self.heard_within(ASKED_EVERY).await?;
            client = self.client(&metadata)?;
            claims = verified(&client, &self.options.client_id, &tokens, nonce);
        }
        let claims = claims.map_err(|error| untrusted(&error))?;
        let mut told = Told::by_token(claims, &self.options.groups_claim);
        if !told.is_whole() && metadata.userinfo_endpoint().is_some() {
            told = told.or(self.info(&client, &tokens, claims.subject()).await?);
        }
        Ok(told.of(&self.options.issuer, claims.subject()))
    }

    /// What it says of somebody beside the ID token.
    async fn info(
        &self,
        client: &Asking,
        tokens: &Tokens,
        subject: &SubjectIdentifier,
    ) -> Result<Told, OidcError> {
        let request = client.user_info(tokens.access_token().clone(), Some(subject.clone()));
        let request = request.map_err(|error| untrusted(&error))?;
        let claims: UserInfoClaims<OtherClaims, CoreGenderClaim> =
            request.request_async(&self.http).await.map_err(|error| match error {
                UserInfoError::Request(error) => self.away(innermost(&error)),
                other => untrusted(&other),
            })?;
        Ok(Told::by_info(&claims, &self.options.groups_claim))
    }

    /// Where a browser is logged out of the provider as well, if that has such a place.
    pub(super) async fn farewell(&self) -> Option<String> {
        let metadata = self.heard_within(BELIEVED_FOR).await.ok()?;
        let endpoint = metadata.additional_metadata().end_session_endpoint.clone()?;
        let back = PostLogoutRedirectUrl::new(format!("{}{LOGIN}", self.options.origin())).ok()?;
        let request = LogoutRequest::from(endpoint)
            .set_client_id(ClientId::new(self.options.client_id.clone()))
            .set_post_logout_redirect_uri(back);
        Some(request.http_get_url().into())
    }

    /// What it says of itself, if it was asked no longer ago than this; otherwise it is asked. It is asked to the end even if
    /// whoever wants to know goes away, so that the next one need not ask again.
    async fn heard_within(&self, age: Duration) -> Result<Arc<Metadata>, OidcError> {
        let mut last = self.last.clone().lock_owned().await;
        let age_of = |heard: &Heard| self.clock.uptime().saturating_sub(heard.at);
        let good_for = |heard: &Heard| if heard.answer.is_ok() { age } else { ASKED_EVERY };
        if let Some(heard) = last.as_ref().filter(|heard| age_of(heard) <= good_for(heard)) {
            return heard.answer.clone().map_err(|why| self.away(why));
        }
        let provider = self.clone();
        let asked = tokio::spawn(async move {
            let answer = provider.ask().await.map(Arc::new);
            *last = Some(Heard { at: provider.clock.uptime(), answer: answer.clone() });
            answer
        });
        let answer = asked.await.unwrap_or_else(|_| Err("it could not be asked".to_owned()));
        answer.map_err(|why| self.away(why))
    }

    async fn ask(&self) -> Result<Metadata, String> {
        let issuer = IssuerUrl::new(self.options.issuer.clone()).map_err(|error| error.to_string())?;
        let asked = Metadata::discover_async(issuer, &self.http).await;
        let metadata = asked.map_err(|error| match error {
            DiscoveryError::Response(_, _, why) => why,
            DiscoveryError::Validation(why) => format!("it calls itself otherwise: {why}"),
            other => innermost(&other),
        })?;
        match unencrypted(&self.options.issuer, &metadata) {
            Some(address) => Err(format!("it wants to be asked at {address}, which is not encrypted")),
            None => Ok(metadata),
        }
    }

    fn away(&self, why: String) -> OidcError {
        OidcError::Away { host: self.options.host(), why: shortened(&why) }
    }

    fn client(&self, metadata: &Metadata) -> Result<Asking, OidcError> {
        let options = &self.options;
        let redirect = RedirectUrl::new(options.redirect_url.clone()).map_err(|error| untrusted(&error))?;
        let secret =
            options.client_secret.as_ref().map(|secret| ClientSecret::new(secret.reveal().to_owned()));
        let client = Client::from_provider_metadata(
            metadata.clone(),
            ClientId::new(options.client_id.clone()),
            secret,
        )
        .set_redirect_uri(redirect);
        let takes = |method| {
            let methods = metadata.token_endpoint_auth_methods_supported();
            methods.is_none_or(|methods| methods.contains(&method))
        };
        let in_header = takes(CoreClientAuthMethod::ClientSecretBasic);
        let by_form = !in_header && takes(CoreClientAuthMethod::ClientSecretPost);
        Ok(if by_form { client.set_auth_type(AuthType::RequestBody) } else { client })
    }

    fn scopes(&self, metadata: &Metadata) -> Vec<String> {
        if let Some(scopes) = &self.options.scopes {
            // The client asks for it anyway.
            return scopes.iter().filter(|scope| *scope != "openid").cloned().collect();
        }
        let groups = offers(metadata, GROUPS_SCOPE).then_some(GROUPS_SCOPE);
        USUAL_SCOPES.into_iter().chain(groups).map(str::to_owned).collect()
    }
}

/// What a provider can do that not every one can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    /// It has a scope for groups.
    pub(crate) has_groups: bool,
    /// Browsers can be logged out of it.
    pub(crate) has_logout: bool,
}

fn offers(metadata: &Metadata, scope: &str) -> bool {
    let scopes = metadata.scopes_supported();
    scopes.is_some_and(|scopes| scopes.iter().any(|offered| offered.as_str() == scope))
}

/// An address that a provider with an encrypted one has for anybody on the way to read. To a private one there is no such way.
fn unencrypted(issuer: &str, metadata: &Metadata) -> Option<String> {
    let addresses = [
        Some(metadata.authorization_endpoint().url()),
        metadata.token_endpoint().map(|endpoint| endpoint.url()),
        metadata.userinfo_endpoint().map(|endpoint| endpoint.url()),
        Some(metadata.jwks_uri().url()),
        metadata.additional_metadata().end_session_endpoint.as_ref().map(|endpoint| endpoint.url()),
    ];
    let is_open = |address: &&reqwest::Url| address.scheme() != "https" && !is_private(address.as_str());
    let found = addresses.into_iter().flatten().find(is_open);
    found.filter(|_| issuer.starts_with("https://")).map(ToString::to_string)
}

fn untrusted(error: &(dyn Error + 'static)) -> OidcError {
    let (error, cause) = (error.to_string(), innermost(error));
    OidcError::Untrusted(shortened(&if cause == error { error } else { format!("{error}: {cause}") }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_provider_with_https_is_asked_over_https_unless_that_stays_at_home() {
        let found = |issuer: &str, token_endpoint: &str| {
            let metadata = serde_json::from_value(json!({
                "issuer": issuer,
                "authorization_endpoint": "https://auth.example.org/authorize",
                "token_endpoint": token_endpoint,
                "jwks_uri": "https://auth.example.org/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }));
            unencrypted(issuer, &metadata.unwrap())
        };
        let open = "http://auth.example.org/token";
        assert_eq!(found("https://auth.example.org", open).as_deref(), Some(open));
        assert_eq!(found("https://auth.example.org", "https://auth.example.org/token"), None);
        assert_eq!(found("https://auth.example.org", "http://10.0.0.1/token"), None);
        assert_eq!(found("http://auth.lan", open), None, "it is not encrypted anyway");
    }
}
