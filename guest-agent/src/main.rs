fn main() -> std::process::ExitCode {
    lkc_guest::main()
}
