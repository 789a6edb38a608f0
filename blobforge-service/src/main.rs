//! The binary `blobforge`: a thin shell over the library.

use std::{io::Write as _, process::ExitCode};

use blobforge_service::pdf_text;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|command| command == pdf_text::CHILD_COMMAND) {
        return pdf_text::child_main(args);
    }
    // Nothing is left to be done about a standard error that is closed.
    let _ = writeln!(
        std::io::stderr().lock(),
        "blobforge: the service and its commands are not in this version yet. Link blobforge-core to use the queue"
    );
    ExitCode::FAILURE
}
