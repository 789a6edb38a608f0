//! How the database is copied away while the service runs: by Litestream, into the bucket that has the files.

use std::{path::PathBuf, time::Duration};

use blobforge_core::blob::S3Options;
use clap::builder::BoolishValueParser;

use super::{SecretText, number, secret::secret};
use crate::service::ServiceError;

/// How the names of settings begin, behind a prefix, that would have copies encrypted.
const AGE: &str = "AGE_";

/// The settings of what copies the database.
#[derive(Clone, Debug, clap::Args)]
pub struct BackupArgs {
    /// Have Litestream copy the database to the bucket all the time, and bring it back from there if there is none.
    #[arg(long, env = "BLOBFORGE_REPLICATE", value_parser = BoolishValueParser::new())]
    pub replicate: bool,
    /// Do without Litestream all the same.
    #[arg(long, env = "BLOBFORGE_LITESTREAM_DISABLED", value_parser = BoolishValueParser::new())]
    pub litestream_disabled: bool,
    /// Never bring the database back: where there is none begin with an empty one, unless its copy would replace one in the
    /// bucket, which stops the start.
    #[arg(long, env = "SKIP_RESTORE", value_parser = BoolishValueParser::new())]
    pub skip_restore: bool,
    /// Program that copies the database; `litestream` in the PATH unless said.
    #[arg(long, env = "LITESTREAM_BIN")]
    pub litestream_bin: Option<PathBuf>,
    /// Id of the access key that Litestream uses; that of the bucket unless said.
    #[arg(long, env = "LITESTREAM_ACCESS_KEY_ID", hide_env_values = true)]
    pub litestream_access_key_id: Option<SecretText>,
    /// File with the id of the access key that Litestream uses.
    #[arg(long, env = "LITESTREAM_ACCESS_KEY_ID_FILE")]
    pub litestream_access_key_id_file: Option<PathBuf>,
    /// Secret of that access key. Better given in a file.
    #[arg(long, env = "LITESTREAM_SECRET_ACCESS_KEY", hide_env_values = true)]
    pub litestream_secret_access_key: Option<SecretText>,
    /// File with the secret of that access key.
    #[arg(long, env = "LITESTREAM_SECRET_ACCESS_KEY_FILE")]
    pub litestream_secret_access_key_file: Option<PathBuf>,
    /// What the keys of the copy begin with, behind what all keys in the bucket begin with.
    #[arg(long, env = "BLOBFORGE_LITESTREAM_PATH", default_value = "litestream/blobforge", value_parser = path)]
    pub litestream_path: String,
    /// Seconds between two copies of what is new: as much is lost with the disk.
    #[arg(long, env = "BLOBFORGE_LITESTREAM_SYNC", default_value_t = 10, value_parser = number::<u64, 1, 3600>)]
    pub litestream_sync: u64,
    /// Hours between two copies of everything, from which a restore begins.
    #[arg(long, env = "BLOBFORGE_LITESTREAM_SNAPSHOTS", default_value_t = 6, value_parser = number::<u64, 1, 168>)]
    pub litestream_snapshots: u64,
    /// Hours back to which the database can be restored.
    #[arg(long, env = "BLOBFORGE_LITESTREAM_RETENTION", default_value_t = 168, value_parser = number::<u64, 1, 8760>)]
    pub litestream_retention: u64,
    /// Hours between two trials whether the copy can be restored, while the service runs; 0 for none.
    #[arg(long, env = "BLOBFORGE_BACKUP_VERIFY", default_value_t = 24, value_parser = number::<u64, 0, 8760>)]
    pub backup_verify: u64,
}

/// How the database is copied, and brought back.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Whether it is copied all the time.
    pub replicate: bool,
    /// Whether it is brought back where there is none.
    pub restore: bool,
    /// The program that does it, if not the one in the PATH.
    pub program: Option<PathBuf>,
    /// The id and secret of its access key, if not those of the bucket.
    pub keys: Option<(SecretText, SecretText)>,
    /// What the keys of the copy begin with, behind the bucket's prefix.
    pub path: String,
    /// How often what is new is copied.
    pub sync: Duration,
    /// How often everything is.
    pub snapshots: Duration,
    /// How far back it can be restored.
    pub retention: Duration,
    /// How often it is tried whether it can be, if that is tried.
    pub verify: Option<Duration>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            replicate: false,
            restore: true,
            program: None,
            keys: None,
            path: "litestream/blobforge".to_owned(),
            sync: Duration::from_secs(10),
            snapshots: hours(6),
            retention: hours(168),
            verify: Some(hours(24)),
        }
    }
}

impl BackupArgs {
    /// What is asked for, given the bucket.
    pub(super) fn into_options(self, bucket: Option<&S3Options>) -> Result<BackupOptions, ServiceError> {
        let refuse = |what: &str| Err(ServiceError::Config(what.to_owned()));
        let id = secret(
            "LITESTREAM_ACCESS_KEY_ID",
            self.litestream_access_key_id,
            self.litestream_access_key_id_file.as_deref(),
        )?;
        let secret_key = secret(
            "LITESTREAM_SECRET_ACCESS_KEY",
            self.litestream_secret_access_key,
            self.litestream_secret_access_key_file.as_deref(),
        )?;
        let keys = match (id, secret_key) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => {
                return refuse(
                    "set both LITESTREAM_ACCESS_KEY_ID and LITESTREAM_SECRET_ACCESS_KEY, or neither: then Litestream uses \
                     the key of the bucket",
                );
            }
        };
        if self.litestream_snapshots > self.litestream_retention {
            return refuse(
                "BLOBFORGE_LITESTREAM_SNAPSHOTS is longer than BLOBFORGE_LITESTREAM_RETENTION: a copy would be thrown away \
                 before there is another one",
            );
        }
        let replicate = self.replicate && !self.litestream_disabled;
        if replicate {
            if bucket.is_none() {
                return refuse(
                    "to replicate takes a bucket: set BLOBFORGE_S3_ENDPOINT and what belongs to it, or leave --replicate out",
                );
            }
            if let Some(name) =
                encryption_asked_for(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
            {
                return Err(ServiceError::Config(format!(
                    "{name} asks for copies that are encrypted with age, which Litestream 0.5 cannot do: unset it, and have \
                     the bucket encrypt what it keeps"
                )));
            }
        }
        Ok(BackupOptions {
            replicate,
            restore: !self.skip_restore,
            program: self.litestream_bin,
            keys,
            path: self.litestream_path,
            sync: Duration::from_secs(self.litestream_sync),
            snapshots: hours(self.litestream_snapshots),
            retention: hours(self.litestream_retention),
            verify: (self.backup_verify > 0).then(|| hours(self.backup_verify)),
        })
    }
}

/// The setting that asks for encrypted copies, if one does.
fn encryption_asked_for(mut names: impl Iterator<Item = String>) -> Option<String> {
    names.find(|name| {
        let bare = name.trim_start_matches("BLOBFORGE_").trim_start_matches("LITESTREAM_");
        bare.starts_with(AGE)
    })
}

fn hours(number: u64) -> Duration {
    Duration::from_secs(number * 60 * 60)
}

/// A key without an end of its own: names with slashes between them.
fn path(text: &str) -> Result<String, String> {
    let good = |name: &str| {
        !name.is_empty()
            && name != ".."
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let text = text.trim_matches('/');
    if text.split('/').all(good) {
        return Ok(text.to_owned());
    }
    Err("use names of a-z, A-Z, 0-9, '.', '_' and '-' with slashes between them, such as litestream/blobforge".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::ServeArgs;

    fn options(arguments: &[&str]) -> Result<BackupOptions, String> {
        let args = ServeArgs::try_parse_from(["serve"].iter().chain(arguments)).map_err(|e| e.to_string())?;
        let bucket = S3Options::new("https://s3.example.org", "blobforge", "a", "s");
        args.backup.into_options(Some(&bucket)).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_replicated_unless_it_is_asked_for() {
        assert!(!options(&[]).unwrap().replicate);
        assert!(options(&["--replicate"]).unwrap().replicate);
        assert!(!options(&["--replicate", "--litestream-disabled"]).unwrap().replicate);
        assert!(!options(&["--skip-restore"]).unwrap().restore);
        let args = ServeArgs::try_parse_from(["serve", "--replicate"]).unwrap();
        let refused = args.backup.into_options(None).unwrap_err().to_string();
        assert!(refused.contains("BLOBFORGE_S3_ENDPOINT"), "{refused}");
    }

    #[test]
    fn half_a_key_is_none() {
        let half = options(&["--litestream-access-key-id", "a"]).unwrap_err();
        assert!(half.contains("both LITESTREAM_ACCESS_KEY_ID and"), "{half}");
        let whole = ["--litestream-access-key-id", "a", "--litestream-secret-access-key", "canary"];
        let options = options(&whole).unwrap();
        assert!(options.keys.is_some() && !format!("{options:?}").contains("canary"));
    }

    #[test]
    fn a_copy_is_not_thrown_away_before_there_is_another_one() {
        let refused = options(&["--litestream-snapshots", "48", "--litestream-retention", "24"]).unwrap_err();
        assert!(refused.contains("thrown away"), "{refused}");
    }

    #[test]
    fn a_setting_that_asks_for_encryption_is_found_by_its_name() {
        let asked = |name: &str| encryption_asked_for(std::iter::once(name.to_owned())).is_some();
        for name in ["AGE_PUBLIC_KEY", "LITESTREAM_AGE_IDENTITIES", "BLOBFORGE_LITESTREAM_AGE_RECIPIENT"] {
            assert!(asked(name), "{name}");
        }
        for name in ["AGENT", "IMAGE_AGE_LIMIT", "LITESTREAM_BIN", "PAGER", "AGE"] {
            assert!(!asked(name), "{name}");
        }
    }

    #[test]
    fn a_path_is_made_of_plain_names() {
        assert_eq!(path("/a/b-1/").unwrap(), "a/b-1");
        for bad in ["", "/", "a//b", "../x", "a b", "a/$HOME"] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }
}
