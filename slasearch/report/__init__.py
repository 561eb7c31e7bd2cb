"""Figures, tables and one self-contained HTML file from the results of the analysis."""
