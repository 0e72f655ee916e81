# CPU or CUDA, by the index that torch comes from (pytorch.org names them):
#   docker build -t wsol-eval .                                   torch as pip brings it (with CUDA on Linux)
#   docker build -t wsol-eval --build-arg TORCH_INDEX=URL .       the CPU's, or another CUDA's
#   docker run --rm -v "$PWD":/work wsol-eval wsol-show photo.jpg
#   docker run --rm --gpus all --shm-size 8g -v "$PWD":/work wsol-eval wsol-train --dataset cub200
FROM python:3.11-slim
ARG TORCH_INDEX=""
COPY constraints.txt /project/constraints.txt
RUN pip install --no-cache-dir --constraint /project/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
COPY pyproject.toml README.md LICENSE train_cutmix.py /project/
COPY wsol /project/wsol
COPY eval /project/eval
RUN pip install --no-cache-dir --constraint /project/constraints.txt '/project[example,backbones,coco,stores,tensorboard]'
# Compiled kernels and downloaded weights go to a folder that any user of the container may write to.
RUN mkdir -m 1777 /cache
ENV XDG_CACHE_HOME=/cache TORCH_HOME=/cache/torch
WORKDIR /work
CMD ["wsol-show", "--help"]
