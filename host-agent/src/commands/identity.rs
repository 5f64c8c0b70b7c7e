//! `lkc-host identity`.

use serde_json::json;

use super::{End, context::Context};
use crate::{cli::Identity, daemon, error::CommandError};

pub(super) fn run(context: &Context<'_>, args: &Identity) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let (ours, guest) = daemon::public_keys(&context.paths, &cluster)?;
    let output = context.output;
    if output.is_json() {
        let described = |key: lkc_protocol::identity::PublicKey| json!({ "key": key, "fingerprint": key.fingerprint() });
        let guest = guest.map(described);
        output.json(&json!({ "cluster": cluster, "host": described(ours), "guest": guest }))?;
    } else {
        let guest = guest.map_or_else(
            || "not known yet".to_owned(),
            |guest| format!("{guest}  {}", guest.fingerprint()),
        );
        let fingerprint = ours.fingerprint();
        output.result(&format!(
            "this host   {ours}  {fingerprint}\nits guest   {guest}\n"
        ))?;
    }
    Ok(End::Done)
}
