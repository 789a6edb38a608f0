//! The ID token: what of it is believed.

use std::time::{Duration, SystemTime};

use openidconnect::{
    AccessTokenHash, ClaimsVerificationError, IdTokenClaims, Nonce, OAuth2TokenResponse as _,
    SignatureVerificationError, TokenResponse as _,
    core::{CoreGenderClaim, CoreJwsSigningAlgorithm as Algorithm},
};

use super::{
    identity::OtherClaims,
    provider::{Asking, Tokens},
};

/// How far the provider's clock may be ahead of this one.
const CLOCK_AHEAD: Duration = Duration::from_secs(5 * 60);
/// How long after its end a token still counts: clocks differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest subject that the standard allows, in characters.
const MAX_SUBJECT: usize = 255;
/// How tokens may be signed: with a key that the provider alone has. What is signed with the client's secret could come from
/// whoever knows that.
const SIGNED_BY: [Algorithm; 10] = [
    Algorithm::RsaSsaPkcs1V15Sha256,
    Algorithm::RsaSsaPkcs1V15Sha384,
    Algorithm::RsaSsaPkcs1V15Sha512,
    Algorithm::RsaSsaPssSha256,
    Algorithm::RsaSsaPssSha384,
    Algorithm::RsaSsaPssSha512,
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::EdDsa,
];

pub(super) type Claims = IdTokenClaims<OtherClaims, CoreGenderClaim>;

/// What the ID token says, once it is known to be the provider's, for this service, in time, and of this login.
pub(super) fn verified<'t>(
    client: &Asking,
    client_id: &str,
    tokens: &'t Tokens,
    nonce: &Nonce,
) -> Result<&'t Claims, ClaimsVerificationError> {
    let token = tokens.id_token().ok_or_else(|| other("there is no ID token in the answer"))?;
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(SIGNED_BY)
        .set_time_fn(|| (SystemTime::now() - LEEWAY).into())
        .set_issue_time_verifier_fn(|at| {
            let is_ahead = SystemTime::from(at) > SystemTime::now() + CLOCK_AHEAD;
            if is_ahead {
                Err("it is from the future: one of the clocks is wrong".to_owned())
            } else {
                Ok(())
            }
        });
    let claims = token.claims(&verifier, nonce)?;
    plausible(claims, client_id)?;
    if let Some(expected) = claims.access_token_hash() {
        let found = token.signing_alg().map_err(ClaimsVerificationError::SignatureVerification).and_then(
            |algorithm| {
                let key =
                    token.signing_key(&verifier).map_err(ClaimsVerificationError::SignatureVerification)?;
                AccessTokenHash::from_token(tokens.access_token(), algorithm, key)
                    .map_err(|error| other(&error.to_string()))
            },
        )?;
        if found != *expected {
            return Err(other("the access token is not the one that the ID token was given with"));
        }
    }
    Ok(claims)
}

pub(super) fn is_of_unknown_key(error: &ClaimsVerificationError) -> bool {
    let unknown = SignatureVerificationError::NoMatchingKey;
    matches!(error, ClaimsVerificationError::SignatureVerification(why) if *why == unknown)
}

/// Refuses what is signed, and still not meant for this service now.
fn plausible(claims: &Claims, client_id: &str) -> Result<(), ClaimsVerificationError> {
    if claims.authorized_party().is_some_and(|party| party.as_str() != client_id) {
        return Err(other("the ID token was given to another client"));
    }
    if claims.subject().chars().count() > MAX_SUBJECT {
        return Err(other("the subject has more than 255 characters"));
    }
    let soon = SystemTime::now() + CLOCK_AHEAD;
    let soon = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if claims.additional_claims().not_before().is_some_and(|at| at > soon) {
        return Err(other("the ID token holds later only: one of the clocks is wrong"));
    }
    Ok(())
}

fn other(why: &str) -> ClaimsVerificationError {
    ClaimsVerificationError::Other(why.to_owned())
}
