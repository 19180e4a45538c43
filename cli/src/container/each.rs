//! The same with several containers.

use std::future::Future;
use std::process::ExitCode;

use futures_util::{StreamExt as _, stream};

use crate::client::escaped;
use crate::out;

/// How many are asked for something at once, as by Docker's client.
const AT_ONCE: usize = 50;

/// Does something with each, which is told of by its name as it was given. One that fails does not keep others from it.
pub(crate) async fn each<F>(
    names: Vec<String>,
    what: impl Fn(String) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<()>>,
{
    each_says(names, |name| {
        let doing = what(escaped(&name));
        async move { doing.await.map(|()| Some(name)) }
    })
    .await
}

/// The same where it says something else than its name, or nothing.
pub(super) async fn each_says<F>(
    names: Vec<String>,
    what: impl Fn(String) -> F,
) -> anyhow::Result<ExitCode>
where
    F: Future<Output = anyhow::Result<Option<String>>>,
{
    let mut done = std::pin::pin!(stream::iter(names).map(what).buffered(AT_ONCE));
    let mut code = ExitCode::SUCCESS;
    while let Some(result) = done.next().await {
        match result {
            Ok(said) => said.as_deref().map_or(Ok(()), out::line)?,
            Err(error) => code = crate::fail(&error),
        }
    }
    Ok(code)
}
