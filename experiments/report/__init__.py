"""What a person sees of a run: report.html, the video, film strips, warnings in words, joint reports over seeds."""

from preflab.experiments.report.checks import find_warnings
from preflab.experiments.report.film import compose_film, film_steps, write_video
from preflab.experiments.report.joint import write_joint_report
from preflab.experiments.report.report import write_report

__all__ = ["compose_film", "film_steps", "find_warnings", "write_joint_report", "write_report", "write_video"]
