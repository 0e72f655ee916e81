"""How often the evaluation's intervals hold the truth, its verdicts are false, and its planner's power comes true:
simulated on populations of known truth, through the functions of eval/statistics."""
