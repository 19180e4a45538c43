//! Which request goes where.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, delete, get, post};
use hull_engine::supervisor::Supervisor;

use crate::error::ApiError;
use crate::metrics::{self, Metrics};
use crate::{build, containers, exec, hull, images, networks, system, volumes};

/// What every route works on.
pub(crate) type Shared = Arc<Supervisor>;

/// All routes, without their prefix of a version.
pub(crate) fn router(supervisor: Shared, metrics: &Arc<Metrics>) -> Router {
    let shown = Arc::clone(metrics);
    Router::new()
        .route("/metrics", get(move || metrics::show(Arc::clone(&shown))))
        .merge(system())
        .merge(containers())
        .merge(execs())
        .merge(images())
        .merge(of_volumes())
        .merge(networks())
        .merge(hull::routes())
        .route("/build", post(build::build))
        .route("/build/prune", post(build::prune::prune))
        .fallback(nowhere)
        .method_not_allowed_fallback(nowhere)
        // Bodies that are read whole have limits of their own; archives have none.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn(tell_route))
        .with_state(supervisor)
}

/// Leaves with the answer which route it came from, for whoever counts.
async fn tell_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

fn system() -> Router<Shared> {
    let swarm =
        |router: Router<Shared>, path: &str| router.route(path, any(system::swarm::unavailable));
    let router = Router::new()
        .route("/_ping", get(system::ping::ping))
        .route("/version", get(system::version::version))
        .route("/auth", post(system::auth::auth))
        .route("/info", get(system::info::info))
        .route("/events", get(system::events::events))
        .route("/system/df", get(system::df::df))
        .route("/plugins", get(system::swarm::no_plugins));
    system::swarm::ROUTES
        .iter()
        .fold(router, |router, path| swarm(router, path))
}

fn containers() -> Router<Shared> {
    Router::new()
        .route("/containers/create", post(containers::create::create))
        .route("/containers/json", get(containers::list::list))
        .route("/containers/prune", post(containers::prune::prune))
        .route("/containers/{id}", delete(containers::lifecycle::remove))
        .route("/containers/{id}/json", get(containers::inspect::inspect))
        .route("/containers/{id}/start", post(containers::lifecycle::start))
        .route("/containers/{id}/stop", post(containers::lifecycle::stop))
        .route(
            "/containers/{id}/restart",
            post(containers::lifecycle::restart),
        )
        .route("/containers/{id}/kill", post(containers::lifecycle::kill))
        .route("/containers/{id}/pause", post(containers::lifecycle::pause))
        .route(
            "/containers/{id}/unpause",
            post(containers::lifecycle::unpause),
        )
        .route(
            "/containers/{id}/rename",
            post(containers::lifecycle::rename),
        )
        .route("/containers/{id}/update", post(containers::update::update))
        .route(
            "/containers/{id}/resize",
            post(containers::lifecycle::resize),
        )
        .route("/containers/{id}/wait", post(containers::wait::wait))
        .route("/containers/{id}/attach", post(containers::attach::attach))
        .route(
            "/containers/{id}/attach/ws",
            get(containers::attach::websocket),
        )
        .route("/containers/{id}/logs", get(containers::logs::logs))
        .merge(asked())
}

/// What the guests of containers are asked for.
fn asked() -> Router<Shared> {
    use containers::checkpoints;
    Router::new()
        .route(
            "/containers/{id}/archive",
            get(containers::archive::get)
                .head(containers::archive::head)
                .put(containers::archive::put),
        )
        .route("/containers/{id}/stats", get(containers::stats::stats))
        .route("/containers/{id}/top", get(containers::top::top))
        .route(
            "/containers/{id}/changes",
            get(containers::changes::changes),
        )
        .route("/containers/{id}/export", get(containers::changes::export))
        .route("/commit", post(containers::commit::commit))
        .route(
            "/containers/{id}/checkpoints",
            get(checkpoints::list).post(checkpoints::create),
        )
        .route(
            "/containers/{id}/checkpoints/{checkpoint}",
            delete(checkpoints::remove),
        )
}

fn execs() -> Router<Shared> {
    Router::new()
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/resize", post(exec::resize))
        .route("/exec/{id}/json", get(exec::inspect))
}

fn of_volumes() -> Router<Shared> {
    Router::new()
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route(
            "/volumes/{name}",
            get(volumes::inspect)
                .delete(volumes::remove)
                // Only volumes of a swarm can be changed.
                .put(system::swarm::unavailable),
        )
}

fn images() -> Router<Shared> {
    Router::new()
        .route("/images/json", get(images::list::list))
        .route("/images/create", post(images::create::create))
        .route("/images/get", get(images::save::several))
        .route("/images/search", get(images::search::search))
        .route("/distribution/{*rest}", get(images::distribution::get))
        .route("/images/load", post(images::load::load))
        .route("/images/prune", post(images::prune::prune))
        // Names of images hold slashes, and what follows them is part of the path.
        .route(
            "/images/{*rest}",
            get(images::get)
                .post(images::post)
                .delete(images::remove::remove),
        )
}

fn networks() -> Router<Shared> {
    Router::new()
        .route("/networks", get(networks::list::list))
        .route("/networks/create", post(networks::create::create))
        .route("/networks/prune", post(networks::remove::prune))
        .route(
            "/networks/{id}",
            get(networks::list::inspect).delete(networks::remove::remove),
        )
        .route("/networks/{id}/connect", post(networks::connect::connect))
        .route(
            "/networks/{id}/disconnect",
            post(networks::connect::disconnect),
        )
}

/// What is asked for is nowhere.
pub(crate) async fn nowhere() -> Response {
    ApiError::not_found("page not found").into_response()
}
