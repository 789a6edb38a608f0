//! Programs that show one idea each. So far the crates around them are being built.
