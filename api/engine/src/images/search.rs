//! `GET /images/search`.

use axum::http::HeaderMap;
use axum::response::Response;
use hull_image::registry::{self, Error, Found, Search};
use serde_json::{Value, json};

use super::registries;
use crate::error::{ApiError, sentence};
use crate::lines;
use crate::params::Params;

pub(crate) async fn search(params: Params, headers: HeaderMap) -> Result<Response, ApiError> {
    let filters = params.filters(&["is-automated", "is-official", "stars"])?;
    let term = params
        .text("term")
        .ok_or_else(|| ApiError::invalid("the parameter term is missing: what is looked for?"))?;
    let mut stars = 0;
    for value in filters.values("stars") {
        let count: u64 = value
            .parse()
            .map_err(|_| ApiError::invalid(format!("invalid filter 'stars={value}'")))?;
        stars = stars.max(count);
    }
    let search = Search {
        term: term.to_owned(),
        limit: params.number("limit")?,
        official: filters.flag("is-official")?,
        automated: filters.flag("is-automated")?,
        stars,
    };
    let found = registry::search(&search, &registries::of(&headers)?).await;
    let found = found.map_err(|error| match error {
        Error::Search(why) => ApiError::invalid(why),
        error => ApiError::internal(sentence(&error)),
    })?;
    let shown = |found: &Found| {
        json!({
            "name": found.name,
            "description": found.description,
            "star_count": found.stars,
            "is_official": found.official,
            "is_automated": found.automated,
        })
    };
    Ok(lines::value(&Value::Array(
        found.iter().map(shown).collect(),
    )))
}
