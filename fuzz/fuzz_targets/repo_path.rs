//! Any names become a path that parses, and different names different paths, also where case is folded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reverser_core::RepoPath;

fuzz_target!(|names: (Vec<String>, Vec<String>)| {
    let path = |names: &[String]| RepoPath::from_segments(names.iter().map(String::as_str));
    let (one, other) = (path(&names.0), path(&names.1));
    assert_eq!(one.as_str().parse::<RepoPath>().as_ref(), Ok(&one));
    if !names.0.is_empty() && !names.1.is_empty() && names.0 != names.1 {
        assert_ne!(one.as_str().to_lowercase(), other.as_str().to_lowercase());
    }
});
