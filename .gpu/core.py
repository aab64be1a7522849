import json,math,os,sys,time,numpy as np,torch
from torch import nn
from latentkit.models.convolutions import Encoder,Convolution
from latentkit.models.nets import Dense
dev='cuda' if torch.cuda.is_available() else 'cpu'
FAST=float(os.environ.get('FAST','1')); OUT=open(os.path.join(os.environ.get('OUT','/tmp'),'core.jsonl'),'a'); T0=time.time()
class Data: pass
def nh():
    d=np.load('.gpu/d.npz'); D=Data(); X=torch.tensor(d['x'].astype(np.float32),device=dev); Y=torch.tensor(d['y'].astype(np.float32),device=dev)
    a=torch.cos(torch.deg2rad(torch.tensor(d['lat'],device=dev,dtype=torch.float32)))[:,None].expand(16,64)
    F=(X*a.sqrt()).flatten(2); D.Ft,D.Fv=F[:5].reshape(-1,1024),F[5]
    D.Yt,D.Yv=Y[:5].reshape(-1,16,64),Y[5]; D.area=a; D.circ=True; return D
def ib():
    d=np.load('.gpu/ib.npz'); D=Data(); X=torch.tensor(d['x'],device=dev).flatten(1); Y=torch.tensor(d['y'],device=dev)
    a=torch.where(torch.isnan(Y).any(0),0.,1.).float(); Y=torch.nan_to_num(Y); 
    D.Ft,D.Fv,D.Yt,D.Yv=X[:1155],X[1155:],Y[:1155],Y[1155:]; D.area=a; D.circ=False; return D
def log(name,**k):
    s=json.dumps({"run":name,**k,"t":round(time.time()-T0)}); print(s,flush=True); OUT.write(s+'\n'); OUT.flush()
one=lambda p: torch.cat([p,torch.ones(len(p),1,device=dev)],1)
def solve(P,T,ridge=0.):
    a=one(P).double(); R=ridge*torch.eye(a.shape[1],device=dev,dtype=torch.double); R[-1,-1]=0
    return torch.linalg.solve(a.T@a+R,a.T@T.double()).float()
def prep(D,K):
    U,S,V=torch.linalg.svd(D.Ft-D.Ft.mean(0),full_matrices=False); n=len(D.Ft); K=min(K,len(S))
    D.Pt,D.Pv=[((f-D.Ft.mean(0))@V[:K].T)/(S[:K]/n**.5) for f in (D.Ft,D.Fv)]
    D.mu=D.Yt.mean(0); D.sd=torch.where(D.area>0,D.Yt.std(0),1.); D.W=D.area/D.area[D.area>0].mean()
def r2(D,f,Y=None):
    Y=D.Yv if Y is None else Y
    e=(f-Y).square().mean(0); v=(Y-Y.mean(0)).square().mean(0); r=(1-e/v.clamp_min(1e-9)).clamp_min(-1); return round(float((r*D.area).sum()/D.area.sum()),4)
class Core(nn.Module):
    """z = EOF coefficients (fixed, standardized); decode = positive(E z + local convs(E z, static, coarse maps of z))."""
    def __init__(s,D,k,C,L,S,q=0,K=0,free=0):
        super().__init__(); r=[torch.Generator().manual_seed(i) for i in range(S)]; s.D=D; y,x=D.mu.shape; s.S=S
        A=((D.Yt-D.mu)*D.W.sqrt()).flatten(1); U,Sv,V=torch.linalg.svd(A,full_matrices=False); n=len(A)
        lam=Sv[:k]/n**.5; w=D.W.sqrt().flatten().clamp_min(1e-6)
        s.register_buffer('E',V[:k]*lam[:,None]/w); s.register_buffer('P',(V[:k]*w/lam[:,None]).T.contiguous())
        s.k=k; s.lv=nn.Parameter(torch.full((S,1,k),-1.)); s.h=Dense(K,k,r)
        s.enc=Dense(x*y,256,r) if free else None
        lat=torch.linspace(-1,1,y,device=dev)[:,None].expand(y,x); lon=torch.linspace(0,2*math.pi,x+1,device=dev)[:-1].expand(y,x)
        st=[D.mu,D.sd,lat,lon.sin(),lon.cos()] if D.circ else [D.mu,D.sd,lat,lon/math.pi-1,(D.area>0).float()]
        s.register_buffer('st',torch.stack(st)); c=1+len(st)+q; s.q=q; s.cs=(-(-y//4),-(-x//4))
        if q: s.maps=Dense(k,q*s.cs[0]*s.cs[1],r)
        s.first=Convolution(c,C,r,circular=D.circ); s.mid=nn.ModuleList(Convolution(C,C,r,circular=D.circ) for _ in range(L)); s.last=Convolution(C,1,r,circular=D.circ)
    def code(s,y): # y (S,n,p) anomalies (unstd)
        return y@s.P, s.lv
    def decode(s,z):
        D=s.D; y,x=D.mu.shape; base=(z@s.E).unflatten(-1,(y,x)) # S,n,y,x
        ins=[(base/D.sd)[:,:,None],s.st.expand(*z.shape[:2],-1,-1,-1)]
        if s.q:
            m=s.maps(z).unflatten(-1,(s.q,*s.cs)).flatten(0,1); m=nn.functional.interpolate(m,size=(y,x),mode='nearest').unflatten(0,z.shape[:2]); ins.append(m)
        v=torch.cat(ins,2).transpose(0,1).flatten(1,2); v=s.first(v)
        for c in s.mid: v=v+c(nn.functional.leaky_relu(v,.2))
        g=s.last(nn.functional.leaky_relu(v,.2)).transpose(0,1)
        f=base/D.sd+.1*g
        return (nn.functional.softplus(6*(f+D.mu/D.sd))/6)*D.sd
def run(D,k,C,L,K,passes,alphas,betas,q=0,mode='alternate',lr=1e-3,wd=0.,batch=64,ridge=0.,jit=0.,tag=''):
    t=time.time(); torch.manual_seed(0); S=len(alphas); prep(D,K); K=D.Pt.shape[1]; net=Core(D,k,C,L,S,q,K).to(dev); n=len(D.Yt)
    Q=(D.Yt-D.mu).flatten(1); Zt=Q@net.P; B=solve(D.Pt,Zt,ridge)
    with torch.no_grad(): net.h.weight[:]=B[:-1]; net.h.bias[:]=B[-1]
    al,be=torch.tensor(alphas,device=dev),torch.tensor(betas,device=dev); per=max(1,n//batch); steps=max(2,int(passes*per*FAST)); order=None
    ps=[p for nm,p in net.named_parameters() if not (nm.startswith('h.') and mode=='fixed')]
    opt=torch.optim.AdamW([{'params':[p for p in ps],'weight_decay':wd}],lr=lr)
    std=(Zt-one(D.Pt)@B).std(0)
    for i in range(steps):
        g=lr*min((i+1)/(0.02*steps+1),.5*(1+math.cos(math.pi*i/steps)))
        for o in opt.param_groups: o['lr']=g
        if i%per==0: order=torch.rand(S,n,device=dev).argsort(1)
        idx=order[:,(i%per)*batch:(i%per+1)*batch]; y,p=D.Yt[idx],D.Pt[idx]
        z,lv=net.code(Q[idx]); hx=net.h(p)
        if mode!='joint': hx=hx.detach()
        if jit: hx=hx+jit*std*torch.randn_like(hx)
        f=net.decode(torch.cat([z+lv.exp()*torch.randn_like(z),hx],1))
        own,oth=((a-y).square().mul(D.W).sum((2,3)).mean(1) for a in f.chunk(2,1))
        kl=(.5*(lv.mul(2).exp()+z.square()-1)-lv).sum(-1).mean(1)
        tot=own+al*oth+be*kl
        opt.zero_grad(set_to_none=True); tot.sum().backward(); opt.step()
    with torch.no_grad():
        zv=(D.Yv-D.mu).flatten(1)@net.P; out={}
        ols=(one(D.Pv)@solve(D.Pt,Q,0.)).unflatten(-1,D.mu.shape)+D.mu; out['ols']=[r2(D,ols),r2(D,ols.clamp_min(0))]
        for nm,zz in (('rec',zv[None].expand(S,-1,-1)),('ref',(one(D.Pv)@solve(D.Pt,Zt,ridge))[None].expand(S,-1,-1)),('h',net.h(D.Pv[None].expand(S,-1,-1)))):
            out[nm]=[r2(D,net.decode(zz[i:i+1].expand(S,-1,-1))[i]) for i in range(S)]
        ht=torch.cat([net.decode(net.h(c[None].expand(S,-1,-1))) for c in D.Pt.split(512)],1); out['ht']=[r2(D,q_,D.Yt) for q_ in ht]
    log('core',tag=tag,k=k,C=C,L=L,K=K,q=q,passes=passes,alphas=alphas,betas=betas,mode=mode,lr=lr,wd=wd,ridge=ridge,jit=jit,sec=round(time.time()-t,1),steps=steps,s=[round(float(v),2) for v in net.lv.detach().exp().mean((1,2))],par=sum(p.numel() for n_,p in net.named_parameters())//S,**out)
N,I=nh(),ib(); A=[1.,5.,1.,5.]; Bt=[.2,.2,1.,1.]
for rd in (0.,1.,10.,30.,100.,300.):
    prep(I,35); b=solve(I.Pt,(I.Yt-I.mu).flatten(1),rd); f=(one(I.Pv)@b).unflatten(-1,I.mu.shape)+I.mu; log('ib ridge',ridge=rd,r2=r2(I,f),clip=r2(I,f.clamp_min(0)))
PLAN=[
 lambda: run(N,400,16,3,400,12,A,Bt,tag='nh'),
 lambda: run(I,60,16,3,35,40,A,Bt,tag='ib'),
 lambda: run(N,400,16,3,400,12,A,Bt,q=8,tag='nh'),
 lambda: run(N,400,16,3,400,12,A,Bt,mode='joint',tag='nh'),
 lambda: run(I,60,16,3,35,40,A,Bt,mode='joint',wd=.1,tag='ib'),
 lambda: run(N,400,8,3,400,12,A,Bt,tag='nh'),
 lambda: run(N,400,32,3,400,12,A,Bt,tag='nh'),
 lambda: run(I,60,16,3,35,40,A,Bt,q=4,wd=.1,tag='ib'),
 lambda: run(I,60,16,1,35,20,A,Bt,lr=2e-3,tag='ib'),
 lambda: run(N,600,16,3,400,12,A,Bt,tag='nh'),
 lambda: run(N,400,16,3,400,12,A,Bt,jit=.5,tag='nh'),
 lambda: run(N,400,16,5,400,12,A,Bt,lr=2e-3,tag='nh'),
 lambda: run(I,60,16,3,35,40,A,Bt,jit=.3,tag='ib'),
 lambda: run(N,400,16,3,400,30,A,Bt,q=8,mode='joint',tag='nh'),
 lambda: run(N,200,16,3,400,12,A,Bt,tag='nh'),
 lambda: run(N,400,16,3,250,12,A,Bt,tag='nh'),
 lambda: run(N,400,32,6,400,30,A,Bt,tag='nh'),
]
LIMIT=float(sys.argv[1])
if len(sys.argv)>2: PLAN=[PLAN[int(i)] for i in sys.argv[2].split(',')]
for p in PLAN:
    if time.time()-T0>LIMIT: log('stop'); break
    try: p()
    except Exception as e:
        import traceback; traceback.print_exc(); log('fail',e=str(e)[:300])
