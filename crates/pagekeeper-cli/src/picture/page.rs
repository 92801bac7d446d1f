//! One HTML page out of scripts, styles and data. Nothing is fetched from anywhere: the page forbids it to the browser.
//!
//! The scripts are plain ones that share a scope, put together in the order in which they need each other. uPlot draws
//! the time lines (MIT licence, `assets/vendor/uPlot-LICENSE`); the map of the address space is our own.

use serde::Serialize;

use crate::failure::Failure;

/// What the browser may do with the page: run what is in it, and nothing from elsewhere.
const ONLY_ITSELF: &str =
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:";

/// The same for the live page, which also asks its own server.
pub(crate) const SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
     connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// What the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// A snapshot, a recording or a comparison; the data is in the page.
    Map,
    /// A process now; the data comes from the server.
    Live,
}

const STYLES: [&str; 2] = [
    include_str!("assets/vendor/uPlot.min.css"),
    include_str!("assets/page.css"),
];

const SCRIPTS: [&str; 7] = [
    include_str!("assets/vendor/uPlot.iife.min.js"),
    include_str!("assets/format.js"),
    include_str!("assets/change.js"),
    include_str!("assets/ribbon.js"),
    include_str!("assets/regions.js"),
    include_str!("assets/panels.js"),
    include_str!("assets/timeline.js"),
];

/// The page.
///
/// # Errors
/// [`Failure::Broken`] where the data cannot be written as JSON.
pub(crate) fn html(body: Body, title: &str, data: &impl Serialize) -> Result<String, Failure> {
    let json = |text: Result<String, serde_json::Error>| {
        text.map(|text| harmless(&text))
            .map_err(|error| Failure::Broken(format!("cannot write JSON: {error}")))
    };
    let data = json(serde_json::to_string(data))?;
    let palette = json(serde_json::to_string(&super::describe()))?;
    let (content, script, policy) = match body {
        Body::Map => (
            include_str!("assets/map.html"),
            include_str!("assets/map.js"),
            format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{ONLY_ITSELF}\">\n"),
        ),
        // Told in a header, where it can forbid frames as well.
        Body::Live => (
            include_str!("assets/live.html"),
            include_str!("assets/live.js"),
            String::new(),
        ),
    };
    let styles = STYLES.join("\n");
    let scripts = SCRIPTS.join("\n");
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{policy}\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{styles}</style>\n</head>\n<body>\n{content}\
         <script type=\"application/json\" id=\"palette\">{palette}</script>\n\
         <script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{scripts}\n{script}</script>\n</body>\n</html>\n",
        title = escaped(title),
    ))
}

/// Text in HTML and SVG. Characters that XML does not have become a replacement character.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..' ' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(character),
        }
    }
    out
}

/// JSON inside of a script element: no file's name can end the element or open a comment.
fn harmless(json: &str) -> String {
    json.replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_no_harm() {
        assert_eq!(escaped("a<b>&\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;\u{fffd} ");
        let page = html(Body::Map, "</title>", &"</script><!--").unwrap();
        assert!(page.contains("<title>&lt;/title&gt;</title>"));
        assert!(page.contains(r#""\u003c/script>\u003c!--""#));
        assert_eq!(page.matches("</script>").count(), 3);
    }

    #[test]
    fn a_page_needs_nothing_from_elsewhere() {
        for body in [Body::Map, Body::Live] {
            let page = html(body, "x", &()).unwrap();
            for what in [
                "src=\"",
                "@import",
                "url(",
                "href=\"http",
                "import(",
                "fetch(\"http",
                "//cdn",
            ] {
                assert!(!page.contains(what), "{body:?}: {what}");
            }
            // What is left of addresses is the note of the vendored script's author and the name of a name space.
            for (at, _) in page.match_indices("://") {
                let around = &page[at.saturating_sub(5)..page.len().min(at + 30)];
                assert!(
                    around.contains("github.com/leeoniya") || around.contains("www.w3.org"),
                    "{body:?}: {around}"
                );
            }
        }
        assert!(
            html(Body::Map, "x", &())
                .unwrap()
                .contains("default-src 'none'")
        );
    }
}
