//! `lkc-host completions`.

use clap_complete::env::Shells;

use super::{End, context::Context};
use crate::{
    cli::{Completions, Shell, complete},
    error::{CommandError, Kind},
};

pub(super) fn run(context: &Context<'_>, args: &Completions) -> Result<End, CommandError> {
    let shells = Shells::builtins();
    let name = match args.shell {
        Shell::Bash => "bash",
        Shell::Elvish => "elvish",
        Shell::Fish => "fish",
        Shell::Powershell => "powershell",
        Shell::Zsh => "zsh",
    };
    let shell = shells
        .completer(name)
        .ok_or_else(|| CommandError::new(Kind::Bug, format!("no completion for {name}")))?;
    let mut script = Vec::new();
    shell
        .write_registration(
            complete::VARIABLE,
            "lkc-host",
            "lkc-host",
            &completer(),
            &mut script,
        )
        .map_err(|error| CommandError::new(Kind::Bug, error))?;
    context.output.result(&String::from_utf8_lossy(&script))?;
    Ok(End::Done)
}

/// The program as it was called: by its name when it is on `PATH`, else by its path.
fn completer() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let called = std::path::PathBuf::from(called);
    if called.components().count() < 2 {
        return "lkc-host".to_owned();
    }
    std::path::absolute(&called)
        .unwrap_or(called)
        .to_string_lossy()
        .into_owned()
}
