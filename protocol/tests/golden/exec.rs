//! The pieces that follow an `Exec`, each direction of them.

use bytes::Bytes;
use lkc_protocol::{
    exec::{self, Decoder, FromProgram, Piece, ProgramEnd, Signal, ToProgram},
    message::TerminalSize,
};

use crate::vector::{self, Vector};

fn to_program() -> Vec<ToProgram> {
    vec![
        ToProgram::Input(Bytes::from_static(b"ls\n")),
        ToProgram::Resize(TerminalSize {
            columns: 211,
            rows: 52,
        }),
        ToProgram::Signal(Signal::Interrupt),
        ToProgram::Input(Bytes::from(vec![0x5a; 300])),
        ToProgram::InputEnd,
        ToProgram::Signal(Signal::Hangup),
        ToProgram::Signal(Signal::Quit),
        ToProgram::Signal(Signal::Terminate),
    ]
}

fn from_program(end: ProgramEnd) -> Vec<FromProgram> {
    vec![
        FromProgram::Output(Bytes::from_static(b"README.md\n")),
        FromProgram::Errors(Bytes::from_static(b"no such file\n")),
        FromProgram::Ended(end),
    ]
}

pub(crate) fn vectors() -> Vec<Vector> {
    let all = |pieces: &[FromProgram]| pieces.iter().flat_map(exec::encode).collect::<Vec<u8>>();
    vec![
        Vector::new(
            "exec-to-program",
            "To a program: `ls`, 211 times 52, interrupt, 300 bytes, the end, three more signals",
            to_program()
                .iter()
                .flat_map(exec::encode)
                .collect::<Vec<u8>>(),
        ),
        Vector::new(
            "exec-exited",
            "From a program: output, an error, exit status 3",
            all(&from_program(ProgramEnd::Exited(3))),
        ),
        Vector::new(
            "exec-killed",
            "From a program: output, an error, killed by signal 9",
            all(&from_program(ProgramEnd::Killed(9))),
        ),
    ]
}

fn read<P: Piece>(name: &str) -> Vec<P> {
    let mut decoder = Decoder::default();
    decoder.push(&vector::read(name));
    let mut pieces = Vec::new();
    while let Some(piece) = decoder.pop().unwrap() {
        pieces.push(piece);
    }
    assert!(!decoder.is_within());
    pieces
}

#[test]
fn committed_pieces_are_read_as_they_were_sent() {
    assert_eq!(read::<ToProgram>("exec-to-program"), to_program());
    for (name, end) in [
        ("exec-exited", ProgramEnd::Exited(3)),
        ("exec-killed", ProgramEnd::Killed(9)),
    ] {
        assert_eq!(read::<FromProgram>(name), from_program(end));
    }
}
