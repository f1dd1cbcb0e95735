"""The learner of `talking_heads`: does learning from what curation kept beat learning from everything?"""
