"""One trial: backbone, training, evaluation, controls; and prediction with an exported adapter."""
