//! The live page in a real browser: headless Chromium, driven through chromedriver (Debian: `chromium-driver`).
//!
//! With `PAGEKEEPER_PICTURES=FOLDER` it also writes pictures of the page, wide and narrow, light and dark, there.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use support::http::{Kept, Server, agrees, kernel_figure, program};

/// Looks of the page that are waited for at most, a fifth of a second each.
const PATIENCE: u32 = 600;
/// A browser that is not there by then has hung; so many are tried.
const START: Duration = Duration::from_secs(60);
const STARTS: u32 = 3;
/// Windows of a desktop's browser are no narrower; narrower ones are a phone's.
const NARROW: u32 = 600;

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).exists())
}

/// What drives the browser, and where it listens.
fn driver() -> Option<(Kept, String)> {
    if !in_path("chromedriver") || !(in_path("chromium") || in_path("google-chrome")) {
        println!(
            "skipped, because there is no chromium with chromedriver (Debian: chromium, chromium-driver); serve.rs compares the same numbers over HTTP"
        );
        return None;
    }
    let mut command = Command::new("chromedriver");
    let mut driver = Kept::start(
        command
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    );
    let output = BufReader::new(driver.0.stdout.take().expect("piped"));
    let port = output.lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        Some(port.trim_end_matches('.').to_owned())
    });
    let port = port.expect("chromedriver says its port");
    Some((driver, format!("http://127.0.0.1:{port}")))
}

/// A browser and the folder of its settings.
struct Browser {
    client: Client,
    _profile: tempfile::TempDir,
}

/// A browser of its own, this wide, light or dark. `None` where none starts: on a machine that is busy for minutes a browser
/// takes its own parts for dead.
async fn browser(driver: &str, width: u32, height: u32, dark: bool) -> Option<Browser> {
    for _ in 0..STARTS {
        let profile = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let capabilities = capabilities(profile.path(), width, height, dark);
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let connecting = builder.capabilities(capabilities).connect(driver);
        let Ok(client) = tokio::time::timeout(START, connecting).await else {
            continue;
        };
        let client = client.expect("a browser");
        if width >= NARROW {
            client.set_window_size(width, height).await.expect("a size");
        }
        return Some(Browser {
            client,
            _profile: profile,
        });
    }
    println!(
        "the rest is skipped, because Chromium does not start here within {} s",
        START.as_secs()
    );
    None
}

fn capabilities(
    profile: &Path,
    width: u32,
    height: u32,
    dark: bool,
) -> serde_json::Map<String, Value> {
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let own = format!("--user-data-dir={}", profile.display());
    let fixed = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ];
    let arguments: Vec<&str> = fixed.into_iter().chain([scheme.as_str(), &own]).collect();
    let mut options = json!({ "args": arguments });
    if width < NARROW {
        let metrics = json!({ "width": width, "height": height, "pixelRatio": 1.0, "touch": true });
        options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
    }
    let mut map = serde_json::Map::new();
    map.insert("browserName".to_owned(), json!("chrome"));
    map.insert("goog:chromeOptions".to_owned(), options);
    map
}

async fn text_of(client: &Client, script: &str) -> Value {
    client.execute(script, vec![]).await.expect("it runs")
}

/// Waits until a script gives something that is not null.
async fn until(client: &Client, what: &str, script: &str) -> Value {
    for _ in 0..PATIENCE {
        let value = text_of(client, script).await;
        if !value.is_null() {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!(
        "{what}: never; the page says {}",
        text_of(client, "return document.body.innerText").await
    )
}

async fn click(client: &Client, selector: &str) {
    let element = client
        .find(Locator::Css(selector))
        .await
        .unwrap_or_else(|error| panic!("{selector}: {error}"));
    element.click().await.expect("clicked");
}

/// Ranges of the kernel's map with their resident bytes.
fn kernel_ranges(pid: u32) -> Vec<(u64, u64, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("alive");
    let mut found: Vec<(u64, u64, u64)> = Vec::new();
    for line in text.lines() {
        let first = line.split(' ').next().unwrap_or_default();
        if let Some((begin, end)) = first.split_once('-')
            && let (Ok(begin), Ok(end)) =
                (u64::from_str_radix(begin, 16), u64::from_str_radix(end, 16))
        {
            found.push((begin, end - begin, 0));
        } else if let Some(rest) = line.strip_prefix("Rss:")
            && let Some(last) = found.last_mut()
        {
            last.2 = rest
                .trim()
                .trim_end_matches(" kB")
                .parse::<u64>()
                .expect("a number")
                * 1024;
        }
    }
    found
}

const WORKING_SET: &str = "const box = document.querySelector('#headlines [data-field=working_set_bytes]'); return box ? Number(box.dataset.bytes) : null";

/// The working set changes while the demonstration loads; and when it has settled it is the kernel's.
async fn sees_the_working_set(client: &Client, pid: u32) {
    let first = until(client, "a working set", WORKING_SET).await.as_f64();
    let changed = format!(
        "const now = (() => {{ {WORKING_SET} }})(); return now !== null && now !== {} ? now : null",
        first.unwrap_or_default()
    );
    until(client, "another working set", &changed).await;
    let mut last = (0, 0, 0);
    for _ in 0..PATIENCE {
        let before = kernel_figure(pid, "VmRSS");
        let looks = text_of(client, "return document.body.dataset.looks").await;
        until(
            client,
            "another look",
            &format!("return document.body.dataset.looks !== {looks} ? true : null"),
        )
        .await;
        let told = text_of(client, WORKING_SET)
            .await
            .as_u64()
            .unwrap_or_default();
        last = (told, before, kernel_figure(pid, "VmRSS"));
        if agrees(last.0, last.1, last.2) {
            return;
        }
    }
    panic!("the page's working set is never the kernel's: {last:?}")
}

/// Finds a region by its address, clicks it, and compares what is told of it with the kernel.
async fn clicks_a_region(client: &Client, server: &Server, pid: u32) {
    let ranges = kernel_ranges(pid);
    let snapshot = server.json(&format!("/api/v1/processes/{pid}/snapshot"));
    let regions = snapshot["snapshot"]["regions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    // One that the kernel tells in one piece, too, and that the demonstration does not change.
    let (region, base, rss) = regions
        .iter()
        .filter(|region| region["kind"] == "image")
        .filter_map(|region| {
            let range = ranges
                .iter()
                .find(|range| region["base"] == range.0 && region["size_bytes"] == range.1)?;
            Some((region, range.0, range.2))
        })
        .max_by_key(|(_, _, rss)| *rss)
        .expect("a region of a file");
    let search = client
        .find(Locator::Id("search"))
        .await
        .expect("a search field");
    search
        .send_keys(&format!("{base:#x}"))
        .await
        .expect("typed");
    let sums = text_of(
        client,
        "return document.getElementById('sums').dataset.regions",
    )
    .await;
    assert_eq!(sums, "1", "the search finds one region");
    click(client, "tr[data-key='group image']").await;
    let row = format!("tr[data-key='region {base}']");
    if client.find(Locator::Css(&row)).await.is_err() {
        click(
            client,
            &format!("tr[data-key='group image {}']", region["allocation_base"]),
        )
        .await;
    }
    click(client, &row).await;
    let field = |name: &str| {
        format!(
            "const box = document.querySelector('#particulars [data-field={name}]'); return box ? Number(box.dataset.bytes) : null"
        )
    };
    assert_eq!(
        until(client, "particulars", &field("size_bytes")).await,
        region["size_bytes"]
    );
    let resident = until(client, "resident", &field("resident_bytes"))
        .await
        .as_u64()
        .unwrap_or_default();
    assert!(
        agrees(resident, rss, rss),
        "region {base:#x}: the page says {resident}, the kernel {rss}"
    );
    search.clear().await.expect("cleared");
}

/// What the page says of the machine's figures is what `status --json` prints: asked by the page's own means.
async fn asks_for_the_machine(client: &Client) {
    let script = "const done = arguments[0]; fetch('/api/v1/machine').then((answer) => answer.json()).then(done)";
    let machine = client
        .execute_async(script, vec![])
        .await
        .expect("an answer");
    let status = support::json(support::pagekeeper().args(["status", "--json"]));
    assert_eq!(
        machine["memory"]["total_physical"],
        status["memory"]["total_physical"]
    );
    assert_eq!(machine["system"], status["system"]);
}

/// Nothing is wider than the window.
async fn fits(client: &Client, name: &str) {
    let widths = text_of(
        client,
        "return [document.documentElement.scrollWidth, innerWidth]",
    )
    .await;
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{name}: {widths}");
}

async fn picture(client: &Client, folder: Option<&Path>, name: &str) {
    fits(client, name).await;
    text_of(client, "scrollTo(0, 0)").await;
    if let Some(folder) = folder {
        let picture = client.screenshot().await.expect("a picture");
        std::fs::write(folder.join(name), picture).expect("written");
    }
}

async fn look_at(driver: &str, server: &Server, pid: u32) {
    let folder = std::env::var_os("PAGEKEEPER_PICTURES").map(PathBuf::from);
    let Some(Browser { client, _profile }) = browser(driver, 1280, 1500, false).await else {
        return;
    };
    client.goto(&server.url).await.expect("opened");
    sees_the_working_set(&client, pid).await;
    asks_for_the_machine(&client).await;
    clicks_a_region(&client, server, pid).await;
    picture(&client, folder.as_deref(), "serve-desktop-light.png").await;
    client.close().await.expect("closed");
    for (name, width, height, dark) in [
        ("serve-desktop-dark.png", 1280, 1500, true),
        ("serve-phone-light.png", 390, 1400, false),
        ("serve-phone-dark.png", 390, 1400, true),
    ] {
        let Some(Browser { client, _profile }) = browser(driver, width, height, dark).await else {
            return;
        };
        client.goto(&server.url).await.expect("opened");
        until(
            &client,
            "two looks",
            "return Number(document.body.dataset.looks) > 2 ? true : null",
        )
        .await;
        picture(&client, folder.as_deref(), name).await;
        client.close().await.expect("closed");
    }
}

#[test]
fn the_page_shows_a_demonstration_live() {
    let Some((_driver, address)) = driver() else {
        return;
    };
    let data = support::folder();
    support::fill(data.path(), 16 << 20);
    let mut demo = program();
    demo.arg("demo").arg(data.path()).args([
        "--data",
        "128M",
        "--ram",
        "48M",
        "--seconds",
        "10000",
        "--threads",
        "1",
    ]);
    let demo = Kept::start(demo.stdout(Stdio::null()).stderr(Stdio::null()));
    let server = Server::start(&[&demo.pid().to_string()]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(look_at(&address, &server, demo.pid()));
}
