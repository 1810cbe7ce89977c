from samfleet.files import write_atomic
from samfleet.logs import configure_logging
from samfleet.summary.verification import verify_summary

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_atomic(snakemake.output.verified, verify_summary(snakemake.input.summary) + "\n")
