"""`samfleet report`: write the report again, without running the workflow."""

import argparse

from samfleet.cli.arguments import add_config, add_results, read_settings
from samfleet.results import report_file


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Describe the command."""
    text = "write results/report.html from the tables, without running the workflow"
    parser = commands.add_parser("report", help=text, description=f"{text.capitalize()}.")
    add_config(parser)
    add_results(parser)
    parser.set_defaults(carry_out=report)


def report(arguments: argparse.Namespace) -> None:
    """Write the report and say where it is.

    Raises:
        UserError: there are no tables yet, or they were made under other settings.
    """
    from samfleet.report.job import write_report

    write_report(read_settings(arguments.config), arguments.results)
    print(f"{report_file(arguments.results)}: open it in a browser")
