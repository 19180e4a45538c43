use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn a_template_of_firecracker_is_read_into_numbers() {
    let config = CpuConfig::parse(
        json!({
            "kvm_capabilities": ["121", "!56"],
            "cpuid_modifiers": [{
                "leaf": "0x80000001", "subleaf": "0b111", "flags": 1,
                "modifiers": [
                    { "register": "ecx", "bitmap": "0b0000_0000_000x_0000_xxxx_xxx0_xx00_01x1" },
                    { "register": "eax", "bitmap": "0b0xx1" },
                ],
            }],
            "msr_modifiers": [{ "addr": "0x10a", "bitmap": format!("0b1{}", "x".repeat(63)) }, { "addr": "266", "bitmap": "0b0" }],
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    assert_eq!(
        config.kvm_capabilities,
        [KvmCapability::Required(121), KvmCapability::NotRequired(56)]
    );
    let leaf = &config.cpuid_modifiers[0];
    assert_eq!(
        (leaf.leaf.0, leaf.subleaf.0, leaf.flags),
        (0x8000_0001, 7, 1)
    );
    let eax = leaf.modifiers[1];
    assert_eq!(eax.register, CpuidRegister::Eax);
    assert_eq!((eax.bitmap.mask(), eax.bitmap.value()), (0b1001, 0b0001));
    assert_eq!(eax.bitmap.apply(0xffff_fff8), 0xffff_fff1);
    let [first, second] = config.msr_modifiers[..] else {
        panic!("two MSRs were given");
    };
    assert_eq!(first.addr, second.addr);
    assert_eq!(first.bitmap.apply(0), 1 << 63);
    assert_eq!(second.bitmap.apply(3), 2);

    let again = serde_json::to_vec(&config).unwrap();
    assert_eq!(CpuConfig::parse(&again).unwrap(), config);
}

#[test]
fn texts_that_are_no_numbers_are_named() {
    let refusal = |json: serde_json::Value| {
        let error = CpuConfig::parse(json.to_string().as_bytes());
        error.unwrap_err().to_string()
    };
    for capability in ["", "!", "x", "+1", "4294967296", "!!1"] {
        let sentence = refusal(json!({ "kvm_capabilities": [capability] }));
        assert!(
            sentence.contains(&format!("{capability:?} is not a capability")),
            "{sentence}"
        );
    }
    for addr in ["", "0x", "0b2", "0x1_0", "-1", "0x100000000", "ten"] {
        let sentence = refusal(json!({ "msr_modifiers": [{ "addr": addr, "bitmap": "0b1" }] }));
        assert!(sentence.contains("the number of a register"), "{sentence}");
    }
    for bitmap in ["", "0b", "0b12", "0x1", &format!("0b{}", "x".repeat(33))] {
        let json = json!({ "cpuid_modifiers": [{ "leaf": "0x1", "subleaf": "0x0", "flags": 0,
            "modifiers": [{ "register": "ebx", "bitmap": bitmap }] }] });
        let sentence = refusal(json);
        assert!(sentence.contains("1 to 32 of the characters"), "{sentence}");
    }
    let json = json!({ "cpuid_modifiers": [{ "leaf": "0x1", "subleaf": "0x0", "flags": -1, "modifiers": [] }] });
    assert!(refusal(json).contains("a whole number from 0 to 4294967295"));
    assert!(refusal(json!({ "reg_modifiers": [] })).contains("unknown field `reg_modifiers`"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refusal = |json: serde_json::Value| {
        let error = CpuConfig::parse(json.to_string().as_bytes());
        error.unwrap_err().to_string()
    };
    let leaf = |flags: u32, register: &str, bitmap: &str| {
        json!({ "leaf": "0x7", "subleaf": "0x0", "flags": flags,
            "modifiers": [{ "register": register, "bitmap": bitmap }] })
    };
    let leaves = |first, second| json!({ "cpuid_modifiers": [first, second] });
    let sentence = refusal(leaves(leaf(1, "ebx", "0bx1xx"), leaf(1, "ebx", "0b00x1")));
    assert!(
        sentence.contains("bit 2 of Ebx in subleaf 0x0 of CPUID leaf 0x7 both 0 and 1"),
        "{sentence}"
    );
    let sentence = refusal(leaves(leaf(1, "ebx", "0b1"), leaf(0, "ecx", "0b1")));
    assert!(sentence.contains("the flags 1 and 0"), "{sentence}");
    let sentence = refusal(leaves(leaf(8, "ebx", "0b1"), leaf(8, "ecx", "0b1")));
    assert!(
        sentence.contains("flags is 8; it must be from 0 to 7"),
        "{sentence}"
    );
    // The same twice, other bits, other registers.
    for other in [
        leaf(1, "ebx", "0bx1xx"),
        leaf(1, "ebx", "0b0xxx"),
        leaf(1, "ecx", "0b0"),
    ] {
        let json = leaves(leaf(1, "ebx", "0bx1xx"), other).to_string();
        CpuConfig::parse(json.as_bytes()).unwrap();
    }
    let msrs = json!([{ "addr": "0x10a", "bitmap": "0b1" }, { "addr": "266", "bitmap": "0b0" }]);
    let sentence = refusal(json!({ "msr_modifiers": msrs }));
    assert!(
        sentence.contains("bit 0 of the model-specific register 0x10a"),
        "{sentence}"
    );
    let sentence = refusal(json!({ "kvm_capabilities": ["121", "7", "!121"] }));
    assert!(sentence.contains("both 121 and !121"), "{sentence}");
}

#[test]
fn the_section_is_a_template_or_a_path() {
    let section: CpuSection = serde_json::from_value(json!("fd:template")).unwrap();
    assert_eq!(section, CpuSection::File("fd:template".into()));
    let section: CpuSection = serde_json::from_value(json!({})).unwrap();
    assert_eq!(section, CpuSection::Template(CpuConfig::default()));
    let error = serde_json::from_value::<CpuSection>(json!({ "x": 1 })).unwrap_err();
    assert!(error.to_string().contains("unknown field `x`"), "{error}");
    let error = serde_json::from_value::<CpuSection>(json!(7)).unwrap_err();
    assert!(error.to_string().contains("the path of a file"), "{error}");
}

proptest! {
    #[test]
    fn bitmaps_are_written_as_they_are_read(text in "0b[01x]{64}", register: u64) {
        let bitmap: Bitmap<64> = text.parse().unwrap();
        prop_assert_eq!(bitmap.to_string(), text);
        let after = bitmap.apply(register);
        prop_assert_eq!(after & bitmap.mask(), bitmap.value());
        prop_assert_eq!(after & !bitmap.mask(), register & !bitmap.mask());
    }

    #[test]
    fn no_text_upsets_the_parsers(text in ".{0,80}") {
        let _ = text.parse::<Bitmap<32>>();
        let _ = text.parse::<Bitmap<64>>();
        let _ = text.parse::<RegisterNumber>();
        let _ = text.parse::<KvmCapability>();
    }
}
