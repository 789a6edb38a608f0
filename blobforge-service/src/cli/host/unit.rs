//! What systemd is told of the service and of a worker.

use std::path::{Path, PathBuf};

use super::CliError;

const SYSTEM: &str = include_str!("system.unit");
const USER: &str = include_str!("user.unit");

/// What is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Service,
    Worker,
}

impl Kind {
    /// How its unit, its settings and its folder are called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Service => "blobforge",
            Self::Worker => "blobforge-worker",
        }
    }

    /// The command of this program that runs it.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Service => "serve",
            Self::Worker => "worker",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Service => "BlobForge, a job queue for large files and slow work",
            Self::Worker => "BlobForge worker",
        }
    }

    /// What holds for it alone, when it runs for the whole system.
    fn own_of_the_system(self) -> &'static str {
        match self {
            Self::Service => {
                "Environment=BLOBFORGE_DB_PATH=%S/blobforge/blobforge.db\n\
                 PrivateDevices=yes\n\
                 RestrictNamespaces=yes\n\
                 MemoryDenyWriteExecute=yes"
            }
            Self::Worker => {
                "Environment=HOME=%S/blobforge-worker BLOBFORGE_WORKER_DIR=%S/blobforge-worker/work\n\
                 Environment=BLOBFORGE_MARKER_DIR=%S/blobforge-worker/marker\n\
                 # What runs in a child and takes all memory is the child's end, not the worker's.\n\
                 OOMPolicy=continue\n\
                 # Whoever may not gain privileges cannot make the devices of NVIDIA's cards, so that is done before.\n\
                 ExecStartPre=-+/bin/sh -c 'if command -v nvidia-modprobe; then nvidia-modprobe -c 0 -u; fi'\n\
                 # A program that is cut off the network gets namespaces for that.\n\
                 RestrictNamespaces=user net"
            }
        }
    }

    /// What holds for it alone, when it runs for one person.
    fn own_of_a_user(self) -> &'static str {
        match self {
            Self::Service => "Environment=BLOBFORGE_DB_PATH=%h/.local/share/blobforge/blobforge.db",
            Self::Worker => {
                "# What runs in a child and takes all memory is the child's end, not the worker's.\nOOMPolicy=continue"
            }
        }
    }
}

/// Where things lie, for the whole system or for one person.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) for_user: bool,
    /// Whether systemd of this machine has something to do with it, and not that of an image that is being made.
    pub(super) runs_here: bool,
    units: PathBuf,
    settings: PathBuf,
    /// The folder of the settings as the unit names it, whatever stands for `/` while it is written.
    named: PathBuf,
}

impl Layout {
    pub(super) fn of_the_system(root: &Path) -> Self {
        Self {
            for_user: false,
            runs_here: root == Path::new("/"),
            units: root.join("etc/systemd/system"),
            settings: root.join("etc/blobforge"),
            named: PathBuf::from("/etc/blobforge"),
        }
    }

    /// Below the folder that a person keeps settings in.
    pub(super) fn of_a_user(config: &Path) -> Self {
        let settings = config.join("blobforge");
        Self {
            for_user: true,
            runs_here: true,
            units: config.join("systemd/user"),
            named: settings.clone(),
            settings,
        }
    }

    pub(super) fn unit(&self, kind: Kind) -> PathBuf {
        self.units.join(format!("{}.service", kind.name()))
    }

    pub(super) fn settings(&self, kind: Kind) -> PathBuf {
        self.settings.join(format!("{}.env", kind.name()))
    }

    /// The link by which it starts with the machine, or with its user.
    pub(super) fn wanted(&self, kind: Kind) -> PathBuf {
        let target = if self.for_user { "default" } else { "multi-user" };
        self.units.join(format!("{target}.target.wants/{}.service", kind.name()))
    }

    /// Where its data are, as people on the machine find them.
    pub(super) fn data(&self, kind: Kind) -> String {
        match (self.for_user, kind) {
            (false, kind) => format!("/var/lib/{}", kind.name()),
            (true, Kind::Service) => "~/.local/share/blobforge".to_owned(),
            (true, Kind::Worker) => "~/.local/state/blobforge".to_owned(),
        }
    }

    /// How `systemctl` is called for it.
    pub(super) fn systemctl(&self) -> &'static str {
        if self.for_user { "systemctl --user" } else { "systemctl" }
    }
}

/// The text of a unit.
///
/// # Errors
/// When something has a character that no line of a unit can have.
pub(super) fn unit(kind: Kind, layout: &Layout, program: &Path, args: &[String]) -> Result<String, CliError> {
    let program = program.to_string_lossy();
    let words = [program.as_ref(), kind.command()].into_iter().chain(args.iter().map(String::as_str));
    let command = words.map(quoted).collect::<Result<Vec<_>, _>>()?.join(" ");
    let settings = layout.named.join(format!("{}.env", kind.name())).to_string_lossy().replace('%', "%%");
    let (text, own) = match layout.for_user {
        false => (SYSTEM, kind.own_of_the_system()),
        true => (USER, kind.own_of_a_user()),
    };
    // What people said comes last, so that nothing in it is taken for a place to fill.
    Ok(text
        .replace("@DESCRIPTION@", kind.description())
        .replace("@NAME@", kind.name())
        .replace("@OWN@", own)
        .replace("@SETTINGS@", &settings)
        .replace("@COMMAND@", &command))
}

/// A word of a command line, as systemd reads it.
fn quoted(word: &str) -> Result<String, CliError> {
    if word.chars().any(char::is_control) {
        return Err(CliError::usage(format!("{word:?} has a character that no unit can have")));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.to_owned());
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

/// What the command line in a unit of ours has behind the command.
pub(super) fn arguments(unit: &str) -> Vec<String> {
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart="));
    line.map(words).into_iter().flatten().skip(2).collect()
}

/// The words of a line that was put together from [`quoted`] ones.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut within) = (vec![String::new()], false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, words.last_mut()) {
            (' ', _) if !within => words.push(String::new()),
            ('"', _) => within = !within,
            // Each of these stands before the letter that is meant.
            ('\\' | '%' | '$', Some(word)) => word.extend(letters.next()),
            (plain, Some(word)) => word.push(plain),
            (_, None) => {}
        }
    }
    words
}

/// The text of a file of settings.
///
/// # Errors
/// When a value has a character that no line can have.
pub(super) fn settings(kind: Kind, layout: &Layout, values: &[(String, String)]) -> Result<String, CliError> {
    let mut text = format!(
        "# Settings, as `blobforge {} --help` names them: NAME=value, one in each line. What changes here holds after\n\
         # {} restart {}\n",
        kind.command(),
        layout.systemctl(),
        kind.name()
    );
    for (name, value) in values {
        if value.chars().any(char::is_control) {
            return Err(CliError::usage(format!(
                "the value of {name} has a character that no line can have"
            )));
        }
        let mut escaped = String::new();
        for c in value.chars() {
            if "\\\"$`".contains(c) {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        text.push_str(&format!("{name}=\"{escaped}\"\n"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        for (word, written) in [
            ("--engine", "--engine"),
            ("{source}", "\"{source}\""),
            ("a b", "\"a b\""),
            ("50 % of $HOME", "\"50 %% of $$HOME\""),
            ("a\\\"b", "\"a\\\\\\\"b\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(word).unwrap(), written);
            assert_eq!(words(&format!("{written} {written}")), [word, word], "and read again");
        }
        assert!(quoted("a\nExecStart=/bin/sh").is_err());
    }

    #[test]
    fn nothing_that_was_said_is_taken_for_a_place_to_fill() {
        let layout = Layout::of_the_system(Path::new("/"));
        let args = ["@OWN@".to_owned(), "@SETTINGS@".to_owned()];
        let text = unit(Kind::Worker, &layout, Path::new("/usr/bin/blobforge"), &args).unwrap();
        assert!(text.contains("ExecStart=/usr/bin/blobforge worker @OWN@ @SETTINGS@\n"), "{text}");
        let values = [("A".to_owned(), "x\nB=y".to_owned())];
        assert!(settings(Kind::Worker, &layout, &values).is_err());
    }
}
