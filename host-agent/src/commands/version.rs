//! `lkc-host version`.

use serde_json::json;

use super::{End, context::Context, daemon};
use crate::error::CommandError;

pub(super) async fn run(context: &Context<'_>) -> Result<End, CommandError> {
    let client = env!("CARGO_PKG_VERSION");
    let daemon = daemon::info(context).await?;
    let output = context.output;
    if output.is_json() {
        output.json(&json!({ "client": { "version": client }, "daemon": daemon }))?;
    } else {
        let daemon = daemon.map_or_else(
            || "not running".to_owned(),
            |info| {
                format!(
                    "{} (pid {})",
                    crate::sanitize::line(&info.version),
                    info.pid
                )
            },
        );
        output.result(&format!("lkc-host  {client}\ndaemon    {daemon}"))?;
    }
    Ok(End::Done)
}
