//! Keys of SSH under a passphrase: where somebody sits at the terminal it is asked for, and the
//! command that lacked the key is run again. Programs get the error, which says what to do.

use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;

use super::{End, context::Context, conversation::Conversation, terminal::HiddenInput};
use crate::{
    carrier::ssh::keyring,
    control::{Passphrase, Reply, Request},
    error::{CommandError, Kind},
};

/// How often somebody may mistype.
const TRIES: usize = 3;

/// Whether a key was opened without which `outcome` had to be what it is.
pub(super) async fn helped(
    context: &Context<'_>,
    outcome: &Result<End, CommandError>,
) -> Result<bool, CommandError> {
    if !context.output.can_ask() {
        return Ok(false);
    }
    let lacking = match outcome {
        // The command has dialled itself, and shown how far it got.
        Ok(End::Exit(code)) if *code == Kind::Authentication.exit_code() => keyring().wanted(),
        Err(error) if error.kind == Kind::Authentication => {
            let mut locked = keyring().wanted();
            locked.extend(locked_for_the_daemon(context).await?);
            locked.retain(|file| is_named(file, error));
            locked
        }
        _ => return Ok(false),
    };
    for file in &lacking {
        if open(context, file).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The hints of an error name the key that was lacking; others are for other clusters.
fn is_named(file: &Path, error: &CommandError) -> bool {
    let file = file.display().to_string();
    error.hints.iter().any(|hint| hint.contains(&file))
}

/// Asks for the passphrase of `file`; false where somebody gives up.
async fn open(context: &Context<'_>, file: &Path) -> Result<bool, CommandError> {
    for _ in 0..TRIES {
        let typed = ask(context, file).await?;
        if typed.is_empty() {
            return Ok(false);
        }
        let (opened, passphrase) = (file.to_owned(), typed.clone());
        let tried = spawn_blocking(move || keyring().unlock(&opened, &passphrase))
            .await
            .map_err(|error| CommandError::new(Kind::Bug, error))?;
        match tried {
            Ok(()) => {
                tell_the_daemon(context, file, typed).await?;
                return Ok(true);
            }
            Err(error) => context.output.warn(&error.to_string()),
        }
    }
    Ok(false)
}

async fn ask(context: &Context<'_>, file: &Path) -> Result<String, CommandError> {
    let output = context.output.clone();
    let question = format!("Passphrase of {}:", file.display());
    // Set back when the waiting ends, however that is.
    let _hidden = HiddenInput::enter();
    // The terminal is read on a thread of its own, so that Ctrl-C is heard.
    let typed = spawn_blocking(move || output.secret(&question)).await;
    typed
        .map_err(|error| CommandError::new(Kind::Bug, error))?
        .map_err(|error| {
            CommandError::new(Kind::HostIo, format!("cannot read the passphrase: {error}"))
        })
}

/// Keys that the daemon has met; none where none runs.
async fn locked_for_the_daemon(context: &Context<'_>) -> Result<Vec<PathBuf>, CommandError> {
    let asked = Conversation::with_existing(context, Request::LockedKeys).await?;
    let Some(mut conversation) = asked else {
        return Ok(Vec::new());
    };
    let mut locked = Vec::new();
    loop {
        match conversation.next().await? {
            Reply::LockedKeys { files } => locked = files,
            Reply::Done(_) => return Ok(locked),
            _ => {}
        }
    }
}

async fn tell_the_daemon(
    context: &Context<'_>,
    file: &Path,
    passphrase: String,
) -> Result<(), CommandError> {
    let request = Request::Unlock {
        file: file.to_owned(),
        passphrase: Passphrase::from(passphrase),
    };
    if let Some(mut conversation) = Conversation::with_existing(context, request).await? {
        while !matches!(conversation.next().await?, Reply::Done(_)) {}
    }
    Ok(())
}
