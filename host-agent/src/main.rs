fn main() -> std::process::ExitCode {
    lkc_host::main()
}
