from samfleet.files import write_atomic
from samfleet.logs import configure_logging
from samfleet.stamps import not_ahead_of_the_clock
from samfleet.summary.verification import verify_summary

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    not_ahead_of_the_clock(snakemake.input)
    write_atomic(snakemake.output.verified, verify_summary(snakemake.input.summary) + "\n")
