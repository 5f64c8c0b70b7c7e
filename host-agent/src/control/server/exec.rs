//! A program in the guest, joined to a client: what either says is passed on as it is.

use bytes::Bytes;
use lkc_protocol::{
    error::{RefusalCode, ResetCode},
    link::{ReadHalf, RequestError, Stream, WriteHalf},
    message::{Exec, TerminalSize},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::timeout,
};

use super::conversation::{BEGIN_DEADLINE, Gone, Teller};
use crate::{
    config::ClusterName,
    control::{Failure, Program, Reply},
    daemon::{Handle, state::unknown_cluster},
    error::Kind,
};

/// Starts the program and joins the client to it, until one of the two is gone.
///
/// # Errors
/// The client is gone or hangs.
pub(super) async fn serve(
    reader: &mut BufReader<OwnedReadHalf>,
    teller: &mut Teller,
    handle: &Handle,
    cluster: &ClusterName,
    program: &Program,
) -> Result<(), Gone> {
    let stream = match start(handle, cluster, program).await {
        Ok(stream) => stream,
        Err(failure) => return teller.end(Err(failure)).await,
    };
    teller.tell(&Reply::Joined).await?;
    let (from_guest, to_guest) = stream.halves();
    let ended = tokio::select! {
        ended = to_client(from_guest, &mut teller.writer) => ended,
        // Whoever has closed its end wants nothing any more.
        () = to_program(reader, to_guest) => Ok(()),
    };
    stream.reset(ResetCode::Cancelled);
    ended
}

async fn start(
    handle: &Handle,
    cluster: &ClusterName,
    program: &Program,
) -> Result<Stream, Failure> {
    if !handle.views().borrow().contains_key(cluster) {
        return Err(unknown_cluster(cluster));
    }
    let link = handle
        .links(cluster)
        .and_then(|links| links.borrow().clone());
    let Some(active) = link else {
        return Err(no_link(cluster));
    };
    let terminal = |[columns, rows]: [u16; 2]| TerminalSize { columns, rows };
    let request = Exec {
        arguments: program.arguments.clone(),
        environment: program.environment.clone(),
        directory: program.directory.clone(),
        terminal: program.terminal.map(terminal),
    };
    match timeout(BEGIN_DEADLINE, active.link.request(&request)).await {
        Ok(Ok((_, stream))) => Ok(stream),
        Ok(Err(error)) => Err(not_started(cluster, &error)),
        Err(_) => Err(failure(
            Kind::Unreachable,
            format!("the guest of {cluster} does not answer"),
        )),
    }
}

/// Passes on what the guest sends until it ends, which is an end only if the last piece came: the
/// client sees.
async fn to_client(guest: ReadHalf<'_>, client: &mut OwnedWriteHalf) -> Result<(), Gone> {
    while let Ok(Some(bytes)) = guest.read().await {
        client.write_all(&bytes).await?;
    }
    Ok(client.shutdown().await?)
}

/// Passes on what the client sends until it is gone, or nobody takes it.
async fn to_program(client: &mut BufReader<OwnedReadHalf>, guest: WriteHalf<'_>) {
    while let Ok(bytes @ [_, ..]) = client.fill_buf().await {
        let count = bytes.len();
        if guest.write(Bytes::copy_from_slice(bytes)).await.is_err() {
            // How it ended comes from there.
            return std::future::pending().await;
        }
        client.consume(count);
    }
}

fn no_link(cluster: &ClusterName) -> Failure {
    let mut failure = failure(Kind::Unreachable, format!("no link to {cluster}"));
    let hint = format!("`lkc-host status {cluster}` says why");
    failure.hints.push(hint);
    failure
}

fn not_started(cluster: &ClusterName, error: &RequestError) -> Failure {
    let RequestError::Refused(refusal) = error else {
        return failure(Kind::Unreachable, format!("no link to {cluster}: {error}"));
    };
    let kind = match refusal.code {
        RefusalCode::Unsupported => Kind::Version,
        RefusalCode::Invalid => Kind::BadInput,
        RefusalCode::Busy => Kind::Conflict,
        _ => Kind::Other,
    };
    let why = crate::sanitize::line(&refusal.to_string());
    let mut failure = failure(kind, format!("nothing was run in {cluster}: {why}"));
    if kind == Kind::Version {
        let hint = "its agent is older than this program: upgrade `lkc-guest` in the image";
        failure.hints.push(hint.to_owned());
    }
    failure
}

const fn failure(kind: Kind, message: String) -> Failure {
    Failure {
        kind,
        message,
        hints: Vec::new(),
        tail: Vec::new(),
    }
}
