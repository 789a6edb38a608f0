//! The binary `blobforge`: a thin shell over the library.

use std::process::ExitCode;

use blobforge_service::pdf_text;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|command| command == pdf_text::CHILD_COMMAND) {
        return pdf_text::child_main(args);
    }
    ExitCode::FAILURE
}
