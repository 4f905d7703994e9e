//! A layout template that is taken gives two objects two paths; any other is refused at one of its characters.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use reverser_core::{ObjectRef, TemplateLayout, testing};

static OBJECTS: LazyLock<Vec<ObjectRef>> = LazyLock::new(testing::hostile_objects);

fuzz_target!(|input: (&str, u16, u16)| {
    use reverser_core::Layout;

    let (template, one, other) = input;
    match template.parse::<TemplateLayout>() {
        Ok(layout) => {
            let object = |at: u16| &OBJECTS[usize::from(at) % OBJECTS.len()];
            let (one, other) = (object(one), object(other));
            assert!(one.is_same_place(other) || layout.place(one) != layout.place(other), "{one:?} {other:?}");
        }
        Err(error) => assert!((1..=template.chars().count() + 1).contains(&error.character())),
    }
});
