//! Texts of ten megabytes that are made to hurt a reader; the benchmark measures the same ones.

/// A text, and whether it is YAML that has to be read, or has to be refused.
pub(crate) struct Hostile {
    /// What is in it.
    pub(crate) name: &'static str,
    /// The text.
    pub(crate) text: String,
    /// Whether no reader may refuse it.
    pub(crate) is_legal: bool,
}

/// How many there are.
pub(crate) const COUNT: usize = 13;

/// Returns one of them; it is made when it is asked for, so that a process can hold a single one.
pub(crate) fn hostile(number: usize) -> Hostile {
    let refused = |name, text| Hostile { name, text, is_legal: false };
    let legal = |name, text| Hostile { name, text, is_legal: true };
    match number {
        0 => refused(
            "anchors in anchors",
            lines("a0: &a0 [lol]\n".into(), |n| {
                let alias = format!("*a{}", n - 1);
                format!("a{n}: &a{n} [{}]\n", [alias.as_str(); 9].join(", "))
            }),
        ),
        1 => refused(
            "merge keys in merge keys",
            lines("m0: &m0 {k: lol}\n".into(), |n| {
                format!("m{n}: &m{n} {{<<: *m{}, k{n}: {{<<: *m{}}}}}\n", n - 1, n - 1)
            }),
        ),
        2 => {
            let map: String = (0..10_000).map(|n| format!("  k{n}: v\n")).collect();
            refused(
                "a large map merged often",
                lines(format!("base: &base\n{map}"), |n| format!("m{n}: {{<<: *base}}\n")),
            )
        }
        3 => {
            let text = "lol".repeat(100_000);
            refused("a long text copied often", lines(format!("base: &base {text}\n"), |n| format!("t{n}: *base\n")))
        }
        4 => refused("anchors without aliases", lines(String::new(), |n| format!("- &a{n} x\n"))),
        5 => refused("lists in lists, with brackets", "[".repeat(BYTES)),
        6 => refused("lists in lists, with dashes", "- ".repeat(BYTES / 2)),
        7 => refused("maps in maps", "{a: ".repeat(BYTES / 4)),
        8 => refused("JSON in JSON", "{\"a\":".repeat(BYTES / 5)),
        9 => refused("explicit keys in explicit keys", "? ".repeat(BYTES / 2)),
        10 => legal("one plain text", format!("a: {}\n", "lol ".repeat(BYTES / 4).trim_end())),
        11 => legal("one quoted text", format!("a: \"{}\"\n", "lol ".repeat(BYTES / 4))),
        _ => legal("one line of JSON in a block", format!("a: |\n  {}\n", "{\"lol\": 1} ".repeat(BYTES / 11))),
    }
}

fn lines(mut text: String, line: impl Fn(usize) -> String) -> String {
    for number in 1.. {
        if text.len() >= BYTES {
            break;
        }
        text += &line(number);
    }
    text
}

const BYTES: usize = 10_000_000;
