//! `pagekeeper query`: what VirtualQuery says of an address in another process, and where the page is.

use comfy_table::Cell;
use pagekeeper::monitor::{Observer, PageInfo, RegionKind, RegionUse, protection_name};

use crate::arguments::QueryOptions;
use crate::failure::Failure;
use crate::terminal::{self, size};

/// Prints the answer.
pub(crate) fn run(options: &QueryOptions) -> Result<(), Failure> {
    let info = Observer::of(options.pid)?.page_at(options.address.0)?;
    if options.json {
        terminal::print_json(&info);
        return Ok(());
    }
    let mut table = terminal::table();
    for (name, text) in rows(&info, options.address.0) {
        table.add_row([Cell::new(name), Cell::new(text)]);
    }
    terminal::print(&terminal::trimmed(&table.to_string()));
    Ok(())
}

fn rows(info: &PageInfo, address: u64) -> Vec<(&'static str, String)> {
    let Some(region) = &info.region else {
        return vec![
            ("BaseAddress", format!("{:#x}", address & !0xFFF)),
            ("RegionSize", sized(info.free_bytes)),
            ("State", "MEM_FREE".to_owned()),
        ];
    };
    let state = match region.usage {
        RegionUse::Committed => "MEM_COMMIT",
        _ => "MEM_RESERVE",
    };
    let kind = match region.kind {
        RegionKind::Image => "MEM_IMAGE",
        RegionKind::Mapped | RegionKind::Section => "MEM_MAPPED",
        _ => "MEM_PRIVATE",
    };
    let mut rows = vec![
        ("BaseAddress", format!("{:#x}", region.base)),
        ("AllocationBase", format!("{:#x}", region.allocation_base)),
        (
            "AllocationProtect",
            protection(region.allocation_protection),
        ),
        ("RegionSize", sized(region.size_bytes)),
        ("State", state.to_owned()),
        ("Protect", protection(region.protection)),
        ("Type", kind.to_owned()),
        ("what it is", what(info)),
    ];
    if !info.page.is_empty() {
        rows.push(("the page", page(&info.page).to_owned()));
    }
    rows
}

fn what(info: &PageInfo) -> String {
    let Some(region) = &info.region else {
        return String::new();
    };
    let mut text = match region.kind {
        RegionKind::Managed => "memory that Pagekeeper manages".to_owned(),
        RegionKind::Section => "a view of a section".to_owned(),
        RegionKind::Image => "a program or library".to_owned(),
        RegionKind::Mapped => "a file or shared memory".to_owned(),
        RegionKind::Heap => "malloc's heap".to_owned(),
        RegionKind::Stack => "the stack of the first thread".to_owned(),
        RegionKind::Private => "private memory".to_owned(),
        RegionKind::Pagekeeper => "Pagekeeper's own tables and buffers".to_owned(),
        RegionKind::Kernel => "put there by the kernel".to_owned(),
    };
    if !region.engine.is_empty() {
        text += &format!(", {} engine", region.engine);
    }
    if !region.name.is_empty() {
        text += &format!(": {}", terminal::clean(&region.name));
        if region.file_offset > 0 {
            text += &format!(" from byte {:#x}", region.file_offset);
        }
    }
    text
}

/// Where the page is, in a sentence.
fn page(word: &str) -> &str {
    match word {
        "resident" => "in the working set",
        "modified" => "on the modified list: out of the working set, not stored yet",
        "standby" => "on the standby list: stored, and still in RAM",
        "compressed" => "in the compressed pool",
        "page_file" => "in the page file",
        "swapped" => "in the kernel's swap",
        "untouched" => "never touched, or only in the file that is mapped",
        "lost" => "lost: it could not be read back",
        other => other,
    }
}

fn protection(bits: u32) -> String {
    match bits {
        0 => "0".to_owned(),
        bits => format!(
            "PAGE_{} ({bits:#x})",
            protection_name(bits).replace('+', " + PAGE_")
        ),
    }
}

fn sized(bytes: u64) -> String {
    format!("{bytes:#x} ({})", size(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pagekeeper::monitor::Region;

    #[test]
    fn free_space_has_no_allocation() {
        let info = PageInfo {
            region: None,
            free_bytes: 0x3000,
            page: String::new(),
        };
        let rows = rows(&info, 0x1234);
        assert_eq!(rows[0].1, "0x1000");
        assert_eq!(rows[2].1, "MEM_FREE");
    }

    #[test]
    fn everything_that_windows_says_is_said() {
        let region = Region {
            base: 0x5000,
            size_bytes: 0x2000,
            allocation_base: 0x4000,
            allocation_protection: 4,
            usage: RegionUse::Committed,
            protection: 0x104,
            engine: "inline".to_owned(),
            kind: RegionKind::Managed,
            ..Region::default()
        };
        let info = PageInfo {
            region: Some(region),
            free_bytes: 0,
            page: "page_file".to_owned(),
        };
        let rows = rows(&info, 0x5000);
        let of = |name| {
            rows.iter()
                .find(|row| row.0 == name)
                .map(|row| row.1.as_str())
        };
        assert_eq!(of("Protect"), Some("PAGE_READWRITE + PAGE_GUARD (0x104)"));
        assert_eq!(of("AllocationProtect"), Some("PAGE_READWRITE (0x4)"));
        assert_eq!(of("Type"), Some("MEM_PRIVATE"));
        assert_eq!(of("the page"), Some("in the page file"));
        assert_eq!(
            of("what it is"),
            Some("memory that Pagekeeper manages, inline engine")
        );
    }
}
