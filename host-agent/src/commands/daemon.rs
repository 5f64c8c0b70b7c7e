//! `lkc-host daemon`: runs it, or looks after the one that runs.

use std::process::ExitCode;

use super::{End, context::Context, conversation::Conversation, file_log};
use crate::{
    cli::{DaemonCommand, Global},
    control::{DaemonInfo, Reply, Request},
    error::{CommandError, Kind},
    output::Output,
    paths::Paths,
};

/// Runs the daemon in this process until it is asked to stop.
pub(super) fn run(global: &Global) -> ExitCode {
    let ended = Paths::of_this_process()
        .map_err(CommandError::from)
        .and_then(|paths| crate::daemon::run(&paths));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Output::new(global).error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Looks after the daemon that runs, or does not.
pub(super) async fn ask(
    context: &Context<'_>,
    command: Option<&DaemonCommand>,
) -> Result<End, CommandError> {
    match command {
        Some(DaemonCommand::Status) => status(context).await,
        Some(DaemonCommand::Stop) => stop(context).await,
        Some(DaemonCommand::Log { lines, follow }) => {
            file_log::show(context, &context.paths.daemon_log(), *lines, *follow).await?;
            Ok(End::Done)
        }
        None | Some(DaemonCommand::Run) => Err(CommandError::new(
            Kind::Bug,
            "the daemon is not run from a command's runtime",
        )),
    }
}

/// Who the daemon is, when it runs. It is not started for the question.
pub(super) async fn info(context: &Context<'_>) -> Result<Option<DaemonInfo>, CommandError> {
    let Some(mut conversation) = Conversation::with_existing(context, Request::Daemon).await?
    else {
        return Ok(None);
    };
    let mut info = None;
    loop {
        match conversation.next().await? {
            Reply::Daemon(answer) => info = Some(answer),
            Reply::Done(_) => return Ok(info),
            _ => {}
        }
    }
}

async fn status(context: &Context<'_>) -> Result<End, CommandError> {
    let Some(info) = info(context).await? else {
        return Err(not_running());
    };
    if context.output.is_json() {
        context.output.json(&info)?;
    } else {
        context.output.result(&describe(&info))?;
    }
    Ok(End::Done)
}

pub(super) fn not_running() -> CommandError {
    CommandError::new(Kind::NotFound, "the daemon does not run")
        .hint("nothing is wrong: the next command that needs it starts it")
}

async fn stop(context: &Context<'_>) -> Result<End, CommandError> {
    match Conversation::with_existing(context, Request::StopDaemon).await? {
        None => context
            .output
            .talk("the daemon does not run; nothing to do"),
        Some(mut conversation) => {
            while !matches!(conversation.next().await?, Reply::Done(_)) {}
            context
                .output
                .talk("the daemon is stopping; clusters go on running, their forwards do not");
        }
    }
    Ok(End::Done)
}

fn describe(info: &DaemonInfo) -> String {
    let clusters = match info.clusters {
        0 => "no cluster".to_owned(),
        1 => "1 cluster".to_owned(),
        count => format!("{count} clusters"),
    };
    let version = crate::sanitize::line(&info.version);
    let up = std::time::Duration::from_secs(info.uptime_ms / 1000);
    format!(
        "daemon {version}, pid {}, up for {up:?}, looks after {clusters}",
        info.pid
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_in_a_line() {
        let info = DaemonInfo {
            version: "0.1.0".into(),
            pid: 812,
            uptime_ms: 90_400,
            clusters: 2,
        };
        insta::assert_snapshot!(describe(&info), @"daemon 0.1.0, pid 812, up for 90s, looks after 2 clusters");
    }
}
