"""Measurements beside other trainings, and experiments that the docs refer to.

python -m bench                      a step and an image at Stable Diffusion 1.5's full size, in
                                     turns: ours, Textual Inversion, the official recipe
python -m bench --ingredients        ours with and without each ingredient; --profile: one step
pytest -m gpu                        both, SDXL, precisions and gradients in one table, on a GPU
python -m bench.training             steps of ours that reach the official recipe's score
python -m bench.paper_ablation       the official recipe, changed one part at a time
python -m bench.claims               joint training and interpolation between celebrities
python -m bench.verdicts             verdicts on images of several people, beside a judge's
python -m bench.guidance_correction  learn what guidance adds to the result of every training
python -m bench.dlib_judge           compare photographs by a second face network
python -m bench.kills                SIGKILL at random moments of a server that works
"""
