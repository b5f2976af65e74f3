//! The API's description, and a page for every error.

use axum::{
    extract::Path,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};
use rust_embed::RustEmbed;

use super::{ApiError, Code};

/// The folder docs/errors, inside the binary.
#[derive(RustEmbed)]
#[folder = "../../docs/errors"]
#[include = "*.md"]
struct Pages;

const OPENAPI: &str = include_str!("../../../../schemas/openapi.yaml");

/// `GET /v3/openapi.yaml`
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], OPENAPI).into_response()
}

/// `GET /docs/errors`
pub(super) async fn errors() -> Response {
    page(
        "Errors",
        &html! {
            h1 { "Errors" }
            table { @for code in Code::ALL {
                tr { td { (code.status().as_u16()) } td { a href={ "/docs/errors/" (code.as_str()) } { (code.as_str()) } } }
            } }
        },
    )
}

/// `GET /docs/errors/{code}`
pub(super) async fn error(Path(code): Path<String>) -> Result<Response, ApiError> {
    let known = Code::ALL.iter().find(|known| known.as_str() == code).ok_or_else(ApiError::not_found)?;
    let file = Pages::get(&format!("{}.md", known.as_str())).ok_or_else(ApiError::not_found)?;
    let text = String::from_utf8_lossy(&file.data).into_owned();
    Ok(page(known.as_str(), &markdown(&text)))
}

/// The little of Markdown that these pages use: headings, paragraphs, lists, code.
fn markdown(text: &str) -> Markup {
    html! {
        @for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
            @if let Some(title) = block.strip_prefix("# ") { h1 { (title) } }
            @else if let Some(title) = block.strip_prefix("## ") { h2 { (title) } }
            @else if let Some(code) = block.strip_prefix("```") {
                pre { (code.split_once('\n').map_or(code, |(_, rest)| rest).trim_end_matches("```")) }
            }
            @else if block.starts_with("- ") {
                ul { @for item in block.split("\n- ") { li { (inline(item.trim_start_matches("- "))) } } }
            }
            @else { p { (inline(block)) } }
        }
    }
}

/// `code` in a line.
fn inline(text: &str) -> Markup {
    html! { @for (n, part) in text.split('`').enumerate() { @if n % 2 == 1 { code { (part) } } @else { (part) } } }
}

fn page(title: &str, body: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · CyberVault" }
                link rel="stylesheet" href="/console/assets/console.css";
            }
            body.doc { main { (body) p { a href="/docs/errors" { "All errors" } } } }
        }
    };
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'self'; frame-ancestors 'none'");
    ([(header::CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let document: serde_json::Value = yaml_serde::from_str(OPENAPI).unwrap();
        let mut described: Vec<(String, String)> = Vec::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys() {
                described.push((method.to_uppercase(), path.clone()));
            }
        }
        let routes = crate::http::api_routes().into_iter();
        let mut routes: Vec<_> = routes.map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let mut pages: Vec<String> =
            Pages::iter().filter_map(|name| Some(name.strip_suffix(".md")?.to_owned())).collect();
        let mut codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        pages.sort_unstable();
        codes.sort_unstable();
        assert_eq!(pages, codes);
        for code in codes {
            let text = String::from_utf8(Pages::get(&format!("{code}.md")).unwrap().data.into_owned()).unwrap();
            assert!(text.starts_with(&format!("# {code}\n")), "{code}");
        }
    }
}
