//! `kubectl get deploy,svc -o yaml | pipe`

use std::io::{stdin, stdout};

fn main() -> anyhow::Result<()> {
    reverser_examples::pipe::run(stdin().lock(), stdout().lock())
}
